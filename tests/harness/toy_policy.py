"""Policies of a few words with an engine without DeepSpeed, for tests of step 3 in one process."""

import contextlib
import copy

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as word_models
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from korlhf.data.tokenize import Codec
from korlhf.models.causal_lm import TokenLogps
from korlhf.models.lora import add_lora
from korlhf.models.reward_model import TokenValues
from korlhf.rl import step as ppo_step
from korlhf.rl.models import Models
from korlhf.rl.rewards import Prompt, RewardModel
from korlhf.training import log
from korlhf.training.engine import Frozen
from korlhf.training.flags import ModelFlags
from korlhf.training.ppo_flags import PpoFlags
from korlhf.training.world import World

ALONE = World(0, 1, torch.device("cpu"))
WORDS = ["<|endoftext|>", "Q", "A", "가", "나", "다", "라", "마"]
GOOD = 3  # the word whose number is the score of the toy task
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'user' %}{{ 'Q ' + m.content + ' A ' }}{% else %}{{ m.content + eos_token }}{% endif %}"
    "{% endfor %}"
)


class FakeEngine:
    """korlhf.training.engine.Engine without DeepSpeed, one process; keeps the gradient of the last step."""

    def __init__(self, module, lr, accumulation=1):
        self.module, self.accumulation, self.passes, self.gradient = module, accumulation, 0, {}
        self.optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)

    def __call__(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def train(self):
        self.module.train()

    def eval(self):
        self.module.eval()

    def gathered_weights(self):
        return contextlib.nullcontext()

    def backward(self, loss):
        (loss / self.accumulation).backward()

    def step(self):
        self.passes += 1
        if self.passes % self.accumulation == 0:
            self.gradient = {n: p.grad.clone() for n, p in self.module.named_parameters() if p.grad is not None}
            self.optimizer.step()
            self.optimizer.zero_grad()


class CountWord(torch.nn.Module):
    """A reward model: how many GOOD words the sequence holds so far."""

    def forward(self, packed):
        good = (packed.ids.flatten() == GOOD).float()
        values = torch.zeros(len(good))
        for parts in packed.sequences():
            at = [i for part in parts for i in part]
            values[at] = good[at].cumsum(0)
        return values


def toy_codec():
    """A Codec of words."""
    words = Tokenizer(word_models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token=WORDS[0]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, **{f"{role}_token": WORDS[0] for role in ("eos", "pad", "bos", "unk")}
    )
    tokenizer.chat_template = TEMPLATE
    return Codec(tokenizer)


def toy_prompts(codec):
    """Eight Prompts of up to five words."""
    talks = [
        ({"role": "user", "content": c},)
        for c in ("나", "다 라", "마 마 나 다 라", "라", "나 다 나", "마", "다", "라 마")
    ]
    return [Prompt(codec.prompt(t).ids, t, "all") for t in talks]


def make_models(codec, lora=0, accumulation=1, lr=3e-3, architecture="gpt_neox", spread=0.3, reward=None):
    torch.manual_seed(0)
    size = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "initializer_range": spread,
    }
    config = {
        "gpt_neox": lambda: GPTNeoXConfig(**size, tie_word_embeddings=False),
        "llama": lambda: LlamaConfig(**size),
    }[architecture]()
    lm = AutoModelForCausalLM.from_config(config).eval()
    frozen = copy.deepcopy(lm)
    if lora:
        lm = add_lora(lm, ModelFlags(model_name_or_path="x", lora_dim=lora), "CAUSAL_LM")
    config.num_labels = 1
    critic = AutoModelForSequenceClassification.from_config(config)
    return Models(
        actor=FakeEngine(TokenLogps(lm), lr, accumulation),
        critic=FakeEngine(TokenValues(critic), lr, accumulation),
        reference=None if lora else Frozen(TokenLogps(copy.deepcopy(frozen)), ALONE, "fp32"),
        reward=RewardModel(Frozen(reward or CountWord(), ALONE, "fp32"), codec, 3),
        codec=codec,
        world=ALONE,
    ), frozen


def flags(n, **kwargs):
    return PpoFlags(
        **{
            "per_device_generation_batch_size": n,
            "per_device_training_batch_size": n,
            "max_answer_seq_len": 6,
            "kl_coef": 0.05,
            **kwargs,
        }
    )


def unshaped(raw, ended):
    return raw


def collect(models, prompts, f, seeds=None, score_shaping=unshaped, kl_coef=0.05):
    return ppo_step.collect(models, prompts, seeds or list(range(len(prompts))), f, kl_coef, score_shaping, log.Clock())

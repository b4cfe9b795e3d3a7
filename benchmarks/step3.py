"""How fast PPO goes: sampling, scoring and training apart, and packed rows against padded ones.

python benchmarks/step3.py [--hidden_size 256 --layers 4 ...]

Four models of one size: actor, critic, reference, reward model. A random actor would hardly ever end an answer, so
its head gets a bias on the end-of-answer token: answer lengths are geometric with --mean_answer tokens, cut at the
limit. What padded rows mean for sampling. longest: prompts padded to the batch's longest, every row is sampled until
the last has stopped; limit: prompts padded to the prompt limit, every row is sampled to the answer limit. Scoring and
training then use the packed run's answers.
"""

import math
from dataclasses import dataclass, replace

import bench
import torch
from bench import Phase
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as token_models
from torch import nn
from transformers import PreTrainedTokenizerFast

from korlhf.core import flags, program
from korlhf.core.seeds import derive
from korlhf.data.tokenize import Codec
from korlhf.models.causal_lm import TokenLogps
from korlhf.models.reward_model import TokenValues
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout
from korlhf.rl import step as ppo_step
from korlhf.rl.advantages import whiten
from korlhf.rl.models import Models
from korlhf.rl.rewards import Prompt, RewardModel, shaped_scores
from korlhf.training.engine import Frozen
from korlhf.training.flags import PpoFlags

PHASES = ("sampling", "scoring", "training")
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<user> ' + m.content + ' <answer> ' }}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
KOREAN = "오늘 날씨가 좋은데 같이 산책하러 갈까요 저녁에는 무엇을 먹으면 좋을지 친구와 이야기하고 싶어요"


@dataclass(frozen=True, kw_only=True)
class SamplingFlags:
    """sampling"""

    mean_answer: int = flags.flag(
        -1,
        "mean answer length of the random actor in tokens; -1 = a quarter of the "
        "answer limit, 0 = it never stops by itself",
        low=-1,
    )


def word_tokenizer(vocab_size):
    """A tokenizer in memory: <end>, <user>, <answer> and numbered words, so that a text of n words has n tokens and
    back.
    """
    words = {w: i for i, w in enumerate(["<end>", "<user>", "<answer>", *(f"w{i}" for i in range(vocab_size - 3))])}
    tokenizer = Tokenizer(token_models.WordLevel(words, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<end>")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)
    fast.chat_template = TEMPLATE
    return fast


def make_prompt(codec, words, length, rng):
    """A Prompt of about `length` tokens: words are added until it has as many (with a real template it may start
    longer).
    """
    chosen, ids = [], []
    while len(ids) < length:
        chosen += [rng.choice(words) for _ in range(max(1, (length - len(ids)) // 4 if ids else 1))]
        messages = ({"role": "user", "content": " ".join(chosen)},)
        ids = codec.prompt(messages).ids
    return Prompt(ids, messages, "all")


def batches(args, codec, words, limit, rng):
    """Endless lists of prompts."""
    lengths = bench.draw_lengths(args, 1, limit, rng)
    while True:
        yield [make_prompt(codec, words, next(lengths)[0], rng) for _ in range(args.batch_size)]


def with_ending(lm, eos_token_id, mean_answer):
    """Give the head a bias with which a random model ends an answer with probability 1 / mean_answer per token; 0:
    never.
    """
    head = lm.get_output_embeddings()
    biased = nn.Linear(head.in_features, head.out_features, dtype=head.weight.dtype)
    with torch.no_grad():
        biased.weight.copy_(head.weight)
        biased.bias.zero_()
        # a random model's other logits are near 0: together they weigh as much as there are tokens
        biased.bias[eos_token_id] = math.log(head.out_features / max(mean_answer - 1, 0.01)) if mean_answer else -1e4
    lm.set_output_embeddings(biased)
    return lm


def load(args, more, world, dtype, limit):
    """(Models, words of prompts, bench.Flops of a language model, of a scoring model, one line on the actor)."""
    random = not args.model_name_or_path
    words = [f"w{i}" for i in range(args.vocab_size - 3)] if random else KOREAN.split()
    codec = Codec(word_tokenizer(args.vocab_size) if random else load_tokenizer(args.model_name_or_path))
    lm, reference = bench.language_model(args), bench.language_model(args)
    described = bench.described(lm)
    flops = bench.Flops(lm), bench.Flops(bench.scoring_model(args))
    if random:
        lm = with_ending(lm, codec.eos_token_id, limit // 4 if more.mean_answer < 0 else more.mean_answer)
        reference.load_state_dict({k: v for k, v in lm.state_dict().items() if k in reference.state_dict()})
    scorer = Frozen(TokenValues(bench.scoring_model(args)), world, dtype, args.zero_stage)
    models = Models(
        actor=bench.trained(TokenLogps(lm), args, world, dtype),
        critic=bench.trained(TokenValues(bench.scoring_model(args)), args, world, dtype),
        reference=Frozen(TokenLogps(reference), world, dtype, args.zero_stage),
        reward=RewardModel(scorer, codec, args.batch_size),
        codec=codec,
        world=world,
    )
    return models, words, flops, described


class Sampling:
    """While entered, korlhf.rl.rollout.sample does the work of a layout; those that pad return the answers of layout
    packed.

    `real` and `computed` are the tokens fed into the model: prompts, and answers but for their last token.
    """

    def __init__(self, limit):
        self.kind, self.limit, self.own, self.answers = "packed", limit, rollout.sample, []

    def __enter__(self):
        rollout.sample = self.sample

    def __exit__(self, *_):
        rollout.sample = self.own

    def sample(self, lm, prompts, seeds, eos_token_id, limits, batch_size):
        width = max(map(len, prompts))
        if self.kind == "packed":
            self.answers = self.own(lm, prompts, seeds, eos_token_id, limits, batch_size)
            self.computed = len(prompts) * width + sum(len(a) - 1 for a in self.answers)
        else:
            width = max(self.limit, width) if self.kind == "limit" else width
            steps = limits.max_new_tokens if self.kind == "limit" else max(map(len, self.answers))
            # Tokens in the place of padding cost the same; -1 is no token, so no row ever stops.
            padded = [[0] * (width - len(p)) + p for p in prompts]
            self.own(lm, padded, seeds, -1, replace(limits, max_new_tokens=steps), batch_size)
            self.computed = len(prompts) * (width + steps - 1)
        self.real = sum(len(p) + len(a) - 1 for p, a in zip(prompts, self.answers))
        return self.answers


class PpoStep:
    """One PPO step as step 3 does it, in one layout: a bench.Step."""

    def __init__(self, models, limit, flops, seed):
        self.models, self.limit, (self.lm_flops, self.score_flops), self.seed = models, limit, flops, seed
        self.sampling, self.number = Sampling(limit), 0

    def __call__(self, prompts, kind):
        models, n, self.sampling.kind = self.models, len(prompts), kind
        size = {"per_device_generation_batch_size": n, "per_device_training_batch_size": n}
        ppo = PpoFlags(**size, max_prompt_seq_len=self.limit, max_answer_seq_len=self.limit)
        self.number += kind == "packed"
        seeds = [derive(self.seed, self.number, i) for i in range(n)]
        clock, layout = bench.Clock(), bench.Layout(kind, 2 * self.limit)
        with self.sampling, layout:
            exp, _, seconds = ppo_step.collect(models, prompts, seeds, ppo, 0.05, score_shaping, clock)
        seconds["scoring"] += clock.lap()
        fed = {"sampling": self.sampling, "scoring": layout}
        fed = {name: (counted.real, counted.computed) for name, counted in fed.items()}
        with layout:
            exp.advantages = whiten(exp.advantages, exp.mask, models.world.sum)
            ppo_step.update(models, exp, ppo, True)
        seconds["training"] += clock.lap()
        fed["training"] = fed["scoring"]  # the same passes score and train
        lengths, sampled = [len(p) + len(a) for p, a in zip(exp.prompts, exp.answers)], sum(map(len, exp.answers))
        once, values = self.lm_flops.forward(lengths, sampled), self.score_flops.forward(lengths)
        flops = {"sampling": once, "scoring": once + values, "training": 3 * once + 3 * values}
        tokens = {"sampling": sampled, "scoring": sum(lengths), "training": sum(lengths)}
        return {p: Phase(seconds[p], n, tokens[p], flops[p], *fed[p]) for p in PHASES}


def score_shaping(raw, ended):
    return shaped_scores(raw, ended, offset=0.0, std=1.0, clip=5.0, missing_eos_penalty=1.0)


def total(phases):
    """The whole step: its samples and tokens went through all three phases."""
    whole = sum(phases.values(), Phase())
    return replace(whole, samples=phases["training"].samples, tokens=phases["training"].tokens)


def main():
    args, more = bench.parse("Benchmark of step 3: PPO", more=SamplingFlags)
    world, dtype, rng = bench.start(args)
    limit = args.seq_len // 2
    models, words, flops, described = load(args, more, world, dtype, limit)
    step = PpoStep(models, limit, flops, args.seed + 7919 * world.rank)
    measured = bench.measure(args, world, batches(args, models.codec, words, limit, rng), step)
    bench.run("step 3: PPO", args, world, dtype, measured, f"four of {described}", total)


if __name__ == "__main__":
    program.run(main)

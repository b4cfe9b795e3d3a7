"""Random models and a tokenizer of words, made in memory.

Needs torch, transformers and tokenizers only, so that another project's environment can make the same ones
(trl_runs.py).
"""

import math
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as token_models
from torch import nn
from transformers import GPTNeoXConfig, PreTrainedTokenizerFast

SPECIAL = ["<end>", "<user>", "<answer>", "<pad>"]
NEVER = -1e4  # logit
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<user> ' + m.content + ' <answer> ' }}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)


def neox_config(hidden_size: int, layers: int, vocab_size: int, seq_len: int, **more: Any) -> GPTNeoXConfig:
    """Config of a GPT-NeoX: the tiny base model's shape, other sizes with wider heads (Polyglot-Ko's at 2,048)."""
    head = 32 if hidden_size < 512 else 64 if hidden_size < 2048 else 128
    tokens = dict.fromkeys(("bos_token_id", "eos_token_id"), 0)
    return GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden_size // head),
        intermediate_size=4 * hidden_size,
        max_position_embeddings=max(512, seq_len),
        rotary_pct=0.5,
        tie_word_embeddings=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        pad_token_id=SPECIAL.index("<pad>"),
        **tokens,
        **more,
    )


def words(vocab_size: int) -> list[str]:
    """The ordinary words of `word_tokenizer`."""
    return [f"w{i}" for i in range(vocab_size - len(SPECIAL))]


def word_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of numbered words: a text of n words has n tokens, and back. The token that ends an answer is 0."""
    ids = {w: i for i, w in enumerate([*SPECIAL, *words(vocab_size)])}
    tokenizer = Tokenizer(token_models.WordLevel(ids, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": "<end>", "unk_token": "<end>", "pad_token": "<pad>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)
    fast.chat_template = TEMPLATE
    return fast


def with_ending(lm: Any, eos_token_id: int, mean_answer: int) -> Any:
    """Give the head a bias with which a random model ends an answer with probability 1 / mean_answer per token; 0:
    never. It never pads.
    """
    head = lm.get_output_embeddings()
    biased = nn.Linear(head.in_features, head.out_features, dtype=head.weight.dtype, device=head.weight.device)
    with torch.no_grad():
        biased.weight.copy_(head.weight)
        biased.bias.zero_()
        biased.bias[SPECIAL.index("<pad>")] = NEVER
        # a random model's other logits are near 0: together they weigh as much as there are tokens
        biased.bias[eos_token_id] = math.log(head.out_features / max(mean_answer - 1, 0.01)) if mean_answer else NEVER
    lm.set_output_embeddings(biased)
    return lm

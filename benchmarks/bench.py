"""What the benchmarks share: flags, lengths of sequences, the start of a process.

Nothing is read from disk or network unless --model_name_or_path or --data is given. Times are printed and never
asserted: they are the machine's.
"""

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from korlhf.core import flags
from korlhf.core.errors import InputError
from korlhf.core.flags import Parser, flag, seed_flag
from korlhf.data.chat_template import KULLM
from korlhf.data.load import load_examples
from korlhf.data.tokenize import Codec, prompt_tokens, reward_tokens, sft_tokens
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import engine
from korlhf.training.flags import RunFlags, step_parser
from korlhf.training.world import World, resolve_dtype

ATTENTIONS = next(f.metadata["choices"] for f in fields(RunFlags) if f.name == "attn_implementation")
SHOWN = {1: "PROMPT+ANSWER", 2: "PROMPT+ANSWER+ANSWER", 3: "PROMPT"}  # what --lengths takes in a step


@dataclass(frozen=True, kw_only=True)
class BenchFlags:
    """benchmark"""

    model_name_or_path: str = flag("", "a language model to run in the place of the random one")
    hidden_size: int = flag(256, "hidden size of the random GPT-NeoX, a multiple of 32", above=0)
    layers: int = flag(4, "its layers", above=0)
    vocab_size: int = flag(4096, "its vocabulary", above=4)
    batch_size: int = flag(
        16, "sequences (step 2: prompts with two answers, step 3: prompts) per process and step", above=0
    )
    train_batch_size: int = flag(0, "step 3: answers per forward pass of an update; 0 = --batch_size", low=0)
    seq_len: int = flag(256, "longest prompt + answer in tokens; what rows of the layout `limit` are padded to", low=16)
    steps: int = flag(4, "timed optimizer steps (step 3: PPO steps)", above=0)
    warmup_steps: int = flag(1, "untimed steps before them", low=0)
    compare_steps: int = flag(2, "steps in which the row layouts are compared; 0 = no comparison", low=0)
    lengths: list[str] = flag(
        [],
        "lengths in tokens instead of random ones, used in turn: PROMPT+ANSWER, "
        "step 2 PROMPT+ANSWER+ANSWER, step 3 PROMPT",
    )
    data: str = flag("", "take the lengths of this dataset, as --data_path of the steps names it; ids stay random")
    lora_dim: int = flag(0, "LoRA rank; 0 trains all weights", low=0)
    learning_rate: float = flag(1e-6, "learning rate; a low one leaves the answers of step 3 as they are", low=0)
    gradient_checkpointing: bool = flag(False, "recompute activations in the backward pass")
    attn_implementation: str = flag("sdpa", "attention kernel, as of the steps", choices=ATTENTIONS)
    zero_stage: int = flag(0, "ZeRO stage", choices=[0, 1, 2, 3])
    dtype: str = flag(
        "auto", "precision; auto = bf16 where the hardware has it, else fp32", choices=["auto", "bf16", "fp16", "fp32"]
    )
    peak_seconds: float = flag(0.3, "seconds for each size of matrix product", above=0)
    seed: int = seed_flag("seed of lengths, tokens, weights and sampling")
    output: str = flag("", "also write the figures to this JSON file", output="file")
    local_rank: int = flag(-1, "set by the deepspeed launcher", low=-1)


def parse(description: str, argv: list[str] | None = None, more: Any = None, **defaults: Any) -> tuple[BenchFlags, Any]:
    """(BenchFlags, None or an instance of `more`, a further dataclass of flags); defaults: other ones of BenchFlags."""
    parser = step_parser(description)
    flags.add(parser, BenchFlags, **defaults)
    if more:
        flags.add(parser, more)
    namespace = parser.parse_args(argv)
    args = flags.read(namespace, BenchFlags)
    check(args, parser)
    return args, flags.read(namespace, more) if more else None


def check(args: BenchFlags, parser: Parser) -> None:
    """Refuse values that cannot work."""
    if args.hidden_size % 32:
        parser.error(f"--hidden_size {args.hidden_size}: must be a multiple of 32")
    if args.lengths and args.data:
        parser.error(f"--data {args.data}: --lengths are given too; delete one of them")


def draw_lengths(args: BenchFlags, step: int, limit: int, rng: random.Random) -> Iterator[tuple[int, ...]]:
    """Endless tuples of lengths in tokens for a step: a prompt, and one (step 1), two (2) or no (3) answers; prompt and
    any one answer together within `limit`.

    Log-normal: medians of limit / 6 (prompts) and limit / 5 (answers), sigma .6 and .8; or --lengths, or --data, in
    turn.
    """
    parts = {1: 2, 2: 3, 3: 1}[step]
    fixed = [tuple(map(int, item.split("+"))) if item.replace("+", "").isdigit() else () for item in args.lengths]
    for text, item in zip(args.lengths, fixed):
        if len(item) != parts or min(item) < 3 or item[0] + max(item[1:], default=0) > limit:
            raise InputError(
                f"--lengths {text}: give {SHOWN[step]}, numbers of 3 or more, a prompt with an answer up to {limit} "
                "tokens"
            )
    if args.data:
        fixed = data_lengths(args, step, limit)
        rng.shuffle(fixed)
    if fixed:
        yield from itertools.cycle(fixed)
    while True:
        prompt = _log_normal(rng, limit / 6, 0.6, limit // 2)
        yield (prompt, *(_log_normal(rng, limit / 5, 0.8, limit - prompt) for _ in range(parts - 1)))


def _log_normal(rng, median, sigma, most):
    return min(max(int(rng.lognormvariate(math.log(median), sigma)), 3), most)


def data_lengths(args: BenchFlags, step: int, limit: int) -> list[tuple[int, ...]]:
    """Lengths of the examples of --data, written out and tokenised as the step does it; what is longer than `limit` is
    left out.

    The tokenizer is that of --model_name_or_path, else a byte-level BPE of --vocab_size made of the same texts.
    """
    examples = load_examples(args.data, step)
    texts = [m["content"] for e in examples for m in e.messages] + [a for e in examples for a in e.answers]
    tokenizer = load_tokenizer(args.model_name_or_path) if args.model_name_or_path else bpe(texts, args.vocab_size)
    codec = Codec(tokenizer)
    if step == 3:
        return [(len(ids),) for ids in prompt_tokens(codec, examples, limit)[1]]
    if step == 1:
        return [(len(t) - sum(t.mask), sum(t.mask)) for t in sft_tokens(codec, examples, limit)[1]]
    rows = reward_tokens(codec, examples, limit)[1]
    return [(len(g[0]) - sum(g[0].mask), *(sum(t.mask) for t in g[:2])) for g in rows]


def bpe(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the texts, with KULLM's template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=["<end>"], show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator([*texts, *[KULLM] * 20], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", chat_template=KULLM)


def start(args: BenchFlags) -> tuple[World, str, random.Random]:
    """Join the processes and seed this one: (World, dtype, random.Random, the same in every process)."""
    world = engine.start(args.local_rank)
    torch.manual_seed(args.seed)
    return world, resolve_dtype(args.dtype, world.device), random.Random(args.seed)

"""What the three benchmarks share: flags, random models, data, row layouts, the machine's matrix-product peak,
counting and printing.

Nothing is read from disk or network unless --model_name_or_path is given. Times are printed and never asserted: they
are the machine's.
"""

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM, GPTNeoXForSequenceClassification

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.core.flags import flag, seed_flag
from korlhf.data import packing
from korlhf.models import causal_lm, reward_model
from korlhf.training import engine, log
from korlhf.training.flags import ModelFlags, step_parser

LAYOUTS = ("packed", "longest", "limit")
FORMULA = (
    "model FLOP = 2 x tokens x matrix parameters (embedding look-up left out; output head only where logits are made) "
    "+ 2 x layers x hidden size x tokens^2 per sequence (causal attention); backward pass twice the forward; "
    "real tokens only"
)


@dataclass(frozen=True, kw_only=True)
class BenchFlags:
    """benchmark"""

    model_name_or_path: str = flag("", "a language model to run in the place of the random one")
    hidden_size: int = flag(256, "hidden size of the random GPT-NeoX, a multiple of 32", above=0)
    layers: int = flag(4, "its layers", above=0)
    vocab_size: int = flag(4096, "its vocabulary", above=0)
    batch_size: int = flag(
        16, "sequences (step 2: prompts with two answers, step 3: prompts) per process and step", above=0
    )
    seq_len: int = flag(256, "longest prompt + answer in tokens; what rows of the layout `limit` are padded to", low=16)
    steps: int = flag(4, "timed optimizer steps (step 3: PPO steps)", above=0)
    warmup_steps: int = flag(1, "untimed steps before them", low=0)
    compare_steps: int = flag(2, "steps in which the row layouts are compared; 0 = no comparison", low=0)
    lengths: list[str] = flag(
        [],
        "lengths in tokens instead of random ones, used in turn: PROMPT+ANSWER, "
        "step 2 PROMPT+ANSWER+ANSWER, step 3 PROMPT",
    )
    zero_stage: int = flag(0, "ZeRO stage", choices=[0, 1, 2, 3])
    dtype: str = flag(
        "auto", "precision; auto = bf16 where the hardware has it, else fp32", choices=["auto", "bf16", "fp16", "fp32"]
    )
    peak_seconds: float = flag(0.3, "seconds for each size of matrix product", above=0)
    seed: int = seed_flag("seed of lengths, tokens, weights and sampling")
    output: str = flag("", "also write the figures to this JSON file")
    local_rank: int = flag(-1, "set by the deepspeed launcher", low=-1)


def parse(description, argv=None, more=None):
    """(BenchFlags, None or an instance of `more`, a further dataclass of flags)."""
    parser = step_parser(description)
    for cls in (BenchFlags, more) if more else (BenchFlags,):
        flags.add(parser, cls)
    namespace = parser.parse_args(argv)
    args = flags.read(namespace, BenchFlags)
    if args.hidden_size % 32:
        parser.error(f"--hidden_size {args.hidden_size}: must be a multiple of 32")
    return args, flags.read(namespace, more) if more else None


def draw_lengths(args, parts, limit, rng):
    """Endless tuples of lengths in tokens: a prompt and `parts` - 1 answers, prompt and any one answer together
    within `limit`.

    Log-normal: medians of limit / 6 (prompts) and limit / 5 (answers), sigma .6 and .8; or --lengths in turn.
    """
    fixed = [tuple(map(int, item.split("+"))) if item.replace("+", "").isdigit() else () for item in args.lengths]
    for text, item in zip(args.lengths, fixed):
        if len(item) != parts or min(item) < 3 or item[0] + max(item[1:], default=0) > limit:
            raise InputError(
                f"--lengths {text}: give {parts} number{'s' * (parts > 1)} of 3 or more, joined by +, "
                f"a prompt with an answer up to {limit} tokens"
            )
    if fixed:
        yield from itertools.cycle(fixed)
    while True:
        prompt = _log_normal(rng, limit / 6, 0.6, limit // 2)
        yield (prompt, *(_log_normal(rng, limit / 5, 0.8, limit - prompt) for _ in range(parts - 1)))


def _log_normal(rng, median, sigma, most):
    return min(max(int(rng.lognormvariate(math.log(median), sigma)), 3), most)


def shape(args, **more):
    """Config of the random GPT-NeoX: the tiny base model's shape, other sizes with wider heads."""
    head = 32 if args.hidden_size < 512 else 64 if args.hidden_size < 2048 else 128
    tokens = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    return GPTNeoXConfig(
        vocab_size=args.vocab_size,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.layers,
        num_attention_heads=max(1, args.hidden_size // head),
        intermediate_size=4 * args.hidden_size,
        max_position_embeddings=max(512, args.seq_len),
        rotary_pct=0.5,
        tie_word_embeddings=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        **tokens,
        **more,
    )


def language_model(args):
    """A causal language model: of --model_name_or_path, or random."""
    if args.model_name_or_path:
        return causal_lm.load(AutoModelForCausalLM, args.model_name_or_path, dropout=0.0)
    return GPTNeoXForCausalLM(shape(args))


def scoring_model(args):
    """A model with a scalar head on the same trunk."""
    if args.model_name_or_path:
        return reward_model.load_reward_model(args.model_name_or_path, new_head=True, dropout=0.0)
    return GPTNeoXForSequenceClassification(shape(args, num_labels=1))


def trained(module, args, world, dtype):
    """`module` under korlhf.training.engine, as a step trains it."""
    model_flags = ModelFlags(model_name_or_path="random", learning_rate=1e-6, zero_stage=args.zero_stage)
    return engine.Engine(module, model_flags, world, engine.Recipe(dtype, args.batch_size, 1, 10**6))


class Layout:
    """While entered, korlhf.data.packing.pack lays rows out as `kind` and is counted.

    packed: as it is. longest: one sequence per row, as wide as the batch's longest. limit: one sequence per row of
    `limit` tokens. `real` and `computed` are tokens since it was entered.
    """

    def __init__(self, kind, limit):
        self.kind, self.limit, self.own = kind, limit, packing.pack

    def __enter__(self):
        self.real = self.computed = 0
        packing.pack = self.lay_out
        return self

    def __exit__(self, *_):
        packing.pack = self.own

    def lay_out(self, sequences):
        """packing.pack of `sequences` with zeros behind them: attention is causal, so no real token sees a zero."""
        width = 0 if self.kind == "packed" else max(map(len, sequences))
        if self.kind == "limit":  # an answer written out for the reward model may be longer than that
            width = max(self.limit, width)
        packed = self.own([[*s, *[0] * (width - len(s))] for s in sequences])
        packed = replace(packed, lengths=torch.tensor([len(s) for s in sequences]))
        self.real += sum(map(len, sequences))
        self.computed += len(packed.ids)
        return packed


class Flops:
    """Floating-point operations of a causal decoder on real tokens (see FORMULA)."""

    def __init__(self, model):
        """model: a transformers language or sequence-classification model, its weights whole."""
        look_up, head = model.get_input_embeddings().weight, model.get_output_embeddings()
        config = model.config.get_text_config()
        self.head = head.weight.numel() if head is not None else 0
        left_out = {id(look_up)} | ({id(head.weight)} if head is not None else set())
        self.body = sum(p.numel() for p in model.parameters() if p.ndim > 1 and id(p) not in left_out)
        self.attention = 2 * config.num_hidden_layers * config.hidden_size

    def forward(self, lengths, predicted=0):
        """Operations of one forward pass over sequences of `lengths` tokens, with logits at `predicted` tokens."""
        return 2 * (self.body * sum(lengths) + self.head * predicted) + self.attention * sum(n * n for n in lengths)


class Clock(log.Clock):
    """log.Clock that waits for the accelerator before it reads the time."""

    def lap(self):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return super().lap()


@dataclass(frozen=True)
class Phase:
    """A timed part of some steps.

    tokens: real ones that went through training or sampling once; real, computed: all that were fed.
    """

    seconds: float = 0.0
    samples: int = 0
    tokens: int = 0
    flops: float = 0.0
    real: int = 0
    computed: int = 0

    def __add__(self, other):
        return Phase(*(a + b for a, b in zip(astuple(self), astuple(other))))


Step = Callable[[list, str], dict[str, Phase]]  # a batch and a kind of layout -> what its phases took


def supervised(limit, train, count) -> Step:
    """The Step of a training of step 1 or 2.

    train: a batch -> None; count: a batch -> (samples, lengths, FLOP of a forward pass).
    """

    def step(batch, kind):
        clock = Clock()
        clock.lap()
        with Layout(kind, limit) as layout:
            train(batch)
        seconds = clock.lap()
        samples, lengths, flops = count(batch)
        return {"training": Phase(seconds, samples, sum(lengths), 3 * flops, layout.real, layout.computed)}

    return step


def summed(parts):
    """Several {phase: Phase} as one."""
    return {name: sum((part[name] for part in parts), Phase()) for name in parts[0]}


def measure(args, world, batches: Iterator[list], step: Step):
    """(phases of packed rows, peak memory in MiB, {layout: phases} over the same batches or {})."""
    for batch in itertools.islice(batches, args.warmup_steps):
        step(batch, "packed")
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)
    phases = summed([step(batch, "packed") for batch in itertools.islice(batches, args.steps)])
    memory = max(world.gather(log.peak_memory_mb(world.device)))
    chosen = list(itertools.islice(batches, args.compare_steps))
    # In turn, so that a change of the machine's pace meets all layouts alike; each is warmed up by the first batch.
    rounds = [{kind: step(batch, kind) for kind in LAYOUTS} for batch in [*chosen[:1], *chosen]][1:]
    return phases, memory, {kind: summed([r[kind] for r in rounds]) for kind in LAYOUTS} if rounds else {}


def throughput(world, phase):
    """Figures of a Phase over all processes: counts are summed, the slowest one's seconds count."""
    samples, tokens, flops, real, computed = world.sum(astuple(phase)[1:]).tolist()
    seconds = max(world.gather(phase.seconds))
    return {
        "seconds": seconds,
        "samples": int(samples),
        "real_tokens": int(tokens),
        "samples_per_second": samples / seconds,
        "real_tokens_per_second": tokens / seconds,
        "computed_tokens": int(computed),
        "padding_share": 1 - real / computed,
        "model_flops_per_second": flops / seconds,
    }


def start(args):
    """Join the processes and seed this one: (World, dtype, random.Random of this process)."""
    world = engine.start(args.local_rank)
    torch.manual_seed(args.seed)
    return world, engine.resolve_dtype(args.dtype, world.device), random.Random(args.seed * 1009 + world.rank)


def matrix_peak(dtype, device, seconds):
    """Best FLOP/s of square matrix products, and their size: several sizes, each for `seconds` at least twice."""
    best, inner = (0.0, 0), 10 if device.type == "cuda" else 1
    for n in (2048, 4096, 8192) if device.type == "cuda" else (256, 512, 1024, 2048):
        a, b = torch.randn(2, n, n, device=device, dtype=engine.DTYPES[dtype])
        a @ b
        clock, began, laps = Clock(), time.perf_counter(), []
        clock.lap()
        while len(laps) < 2 or time.perf_counter() - began < seconds:
            for _ in range(inner):
                a @ b
            laps.append(clock.lap() / inner)
        best = max(best, (2 * n**3 / min(laps), n))
        if min(laps) > 2 * seconds:  # larger ones would take minutes
            break
    return best


def run(title, args, world, dtype, measured, model, total=None):
    """Measure the machine, print the figures and write them to --output, in the first process; returns them.

    measured: of `measure`; model: a line on it; total: function {phase: Phase} -> the Phase of all of them (not
    given: there is one).
    """
    phases, memory, layouts = measured
    flops, size = matrix_peak(dtype, world.device, args.peak_seconds)
    cuda = world.device.type == "cuda"
    device = torch.cuda.get_device_name(world.device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    peak = float(world.sum([flops])[0])
    machine = {"device": device, "processes": world.size, "dtype": dtype}
    machine |= {"matrix_peak_flops_per_second": peak, "matrix_size": size}
    every = {**phases, **({"total": total(phases)} if total else {})}
    by_phase = {k: {p: throughput(world, phase) for p, phase in found.items()} for k, found in layouts.items()}
    in_all = {k: throughput(world, total(p) if total else p["training"]) for k, p in layouts.items()}
    result = {
        "benchmark": title,
        "model": model,
        "machine": machine,
        "peak_memory_mb": memory,
        "phases": {name: throughput(world, phase) for name, phase in every.items()},
        "layouts": {k: {**f, "time_ratio": f["seconds"] / in_all["packed"]["seconds"]} for k, f in in_all.items()},
        "time_ratio_by_phase": {
            k: {p: f["seconds"] / by_phase["packed"][p]["seconds"] for p, f in found.items()}
            for k, found in by_phase.items()
        },
        "formula": FORMULA,
        "flags": vars(args),
        "versions": program.versions(),
    }
    for f in [*result["phases"].values(), *result["layouts"].values()]:
        f["share_of_matrix_peak"] = f["model_flops_per_second"] / peak
    if world.first:
        show(result)
        if args.output:
            output = Path(args.output).expanduser()
            output.parent.mkdir(parents=True, exist_ok=True)
            write_json(output, result)
            print(f"written: {args.output}")


def show(result):
    """Print the figures."""
    m, peak = result["machine"], result["machine"]["matrix_peak_flops_per_second"]
    print(
        f"{result['benchmark']}\nmodel: {result['model']}\n"
        f"machine: {m['device']}, {m['processes']} process(es), {m['dtype']}, "
        f"matrix-product peak {peak / 1e9:,.1f} GFLOP/s (n = {m['matrix_size']})\n"
        f"peak memory: {result['peak_memory_mb']:,.0f} MiB\n\n"
        f"{'':<10}{'seconds':>9}{'samples/s':>11}{'real tokens/s':>15}{'padding':>9}{'GFLOP/s':>10}{'of peak':>9}"
    )
    for name, f in result["phases"].items():
        print(
            f"{name:<10}{f['seconds']:>9.2f}{f['samples_per_second']:>11.2f}{f['real_tokens_per_second']:>15,.0f}"
            f"{f['padding_share']:>9.1%}{f['model_flops_per_second'] / 1e9:>10,.1f}{f['share_of_matrix_peak']:>9.1%}"
        )
    if result["layouts"]:
        steps = result["flags"]["compare_steps"]
        print(f"\nlayout of rows, the same {steps} step(s) each")
        print(f"{'':<10}{'seconds':>9}{'real tokens/s':>15}{'padding':>9}{'time':>9}")
    for name, f in result["layouts"].items():
        print(
            f"{name:<10}{f['seconds']:>9.2f}{f['real_tokens_per_second']:>15,.0f}"
            f"{f['padding_share']:>9.1%}{f['time_ratio']:>8.2f}x"
        )
    for kind, ratios in result["time_ratio_by_phase"].items():
        if len(ratios) > 1:
            shares = ", ".join(f"{p} {r:.2f}x" for p, r in ratios.items())
            print(f"time of layout {kind}, packed = 1: {shares}")
    print(f"\n{FORMULA}")


def described(model):
    """One line on a model."""
    config = model.config.get_text_config()
    return (
        f"{config.model_type}, {sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters, "
        f"{config.num_hidden_layers} layers of {config.hidden_size}, vocabulary {config.vocab_size}"
    )

"""What the three benchmarks share: flags, random models, data, row layouts, the machine's matrix-product peak, counting and printing.

Nothing is read from disk or network unless --model_name_or_path is given. Times are printed and never asserted: they are the machine's.
"""

import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM, GPTNeoXForSequenceClassification

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.data import packing
from korlhf.models import causal_lm as models
from korlhf.models import reward_model
from korlhf.training import engine, log
from korlhf.training.flags import ModelFlags, step_parser

LAYOUTS = ("packed", "longest", "limit")
FORMULA = (
    "model FLOP = 2 x tokens x matrix parameters (embedding look-up left out; output head only where logits are made) "
    "+ 2 x layers x hidden size x tokens^2 a sequence (causal attention); backward pass twice the forward; real tokens only"
)


@dataclass(frozen=True, kw_only=True)
class BenchFlags:
    """benchmark"""

    model_name_or_path: str = flags.flag("", "a language model to run in the place of the random one")
    hidden_size: int = flags.flag(256, "hidden size of the random GPT-NeoX, a multiple of 32")
    layers: int = flags.flag(4, "its layers")
    vocab_size: int = flags.flag(4096, "its vocabulary")
    batch_size: int = flags.flag(
        16, "sequences (step 2: prompts with two answers, step 3: prompts) per process and step"
    )
    seq_len: int = flags.flag(256, "longest prompt + answer in tokens; what rows of the layout `limit` are padded to")
    steps: int = flags.flag(4, "timed optimizer steps (step 3: PPO steps)")
    warmup_steps: int = flags.flag(1, "untimed steps before them")
    compare_steps: int = flags.flag(2, "steps in which the row layouts are compared; 0 = no comparison")
    lengths: list[str] = flags.flag(
        [],
        "lengths in tokens instead of random ones, used in turn: PROMPT+ANSWER, "
        "step 2 PROMPT+ANSWER+ANSWER, step 3 PROMPT",
    )
    zero_stage: int = flags.flag(0, "ZeRO stage", choices=[0, 1, 2, 3])
    dtype: str = flags.flag(
        "auto", "precision; auto = bf16 where the hardware has it, else fp32", choices=["auto", "bf16", "fp16", "fp32"]
    )
    peak_seconds: float = flags.flag(0.3, "seconds for each size of matrix product")
    seed: int = flags.flag(1234, "seed of lengths, tokens, weights and sampling")
    output: str = flags.flag("", "also write the figures to this JSON file")
    local_rank: int = flags.flag(-1, "set by the deepspeed launcher")


def parse(description, argv=None, more=None):
    """(BenchFlags, None or an instance of `more`, a further dataclass of flags)."""
    parser = step_parser(description)
    for cls in [BenchFlags] + ([more] if more else []):
        flags.add(parser, cls)
    namespace = parser.parse_args(argv)
    args = flags.read(namespace, BenchFlags)
    flags.check_positive(
        {
            k: getattr(args, k)
            for k in ("hidden_size", "layers", "vocab_size", "batch_size", "seq_len", "steps", "peak_seconds")
        },
        parser,
    )
    if args.hidden_size % 32:
        parser.error(f"--hidden_size {args.hidden_size}: must be a multiple of 32")
    if args.seq_len < 16:
        parser.error(f"--seq_len {args.seq_len}: must be 16 or more")
    return args, flags.read(namespace, more) if more else None


def draw_lengths(args, parts, limit, rng):
    """Endless tuples of lengths in tokens: a prompt and `parts` - 1 answers, prompt and any one answer together within `limit`.

    Log-normal: medians of limit / 6 (prompts) and limit / 5 (answers), sigma .6 and .8; or --lengths in turn.
    """
    given = [tuple(map(int, item.split("+"))) if item.replace("+", "").isdigit() else () for item in args.lengths]
    for text, item in zip(args.lengths, given):
        if len(item) != parts or min(item) < 3 or item[0] + max(item[1:], default=0) > limit:
            raise InputError(
                f"--lengths {text}: give {parts} number{'s' * (parts > 1)} of 3 or more, joined by +, "
                f"a prompt with an answer up to {limit} tokens"
            )
    at = 0
    while True:
        if given:
            yield given[at % len(given)]
            at += 1
        else:
            prompt = min(max(int(rng.lognormvariate(math.log(limit / 6), 0.6)), 3), limit // 2)
            yield (
                prompt,
                *(
                    min(max(int(rng.lognormvariate(math.log(limit / 5), 0.8)), 3), limit - prompt)
                    for _ in range(parts - 1)
                ),
            )


def shape(args):
    """Config of the random GPT-NeoX: the tiny base model's shape, other sizes with wider heads."""
    head = 32 if args.hidden_size < 512 else 64 if args.hidden_size < 2048 else 128
    return GPTNeoXConfig(
        vocab_size=args.vocab_size,
        hidden_size=args.hidden_size,
        num_hidden_layers=args.layers,
        num_attention_heads=max(1, args.hidden_size // head),
        intermediate_size=4 * args.hidden_size,
        max_position_embeddings=max(512, args.seq_len),
        rotary_pct=0.5,
        use_parallel_residual=True,
        hidden_act="gelu",
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )


def language_model(args):
    """A causal language model: of --model_name_or_path, or random."""
    if args.model_name_or_path:
        return models.load(AutoModelForCausalLM, args.model_name_or_path, dropout=0.0)
    return GPTNeoXForCausalLM(shape(args))


def scoring_model(args):
    """A model with a scalar head on the same trunk."""
    if args.model_name_or_path:
        return reward_model.load_reward_model(args.model_name_or_path, new_head=True, dropout=0.0)
    config = shape(args)
    config.num_labels = 1
    return GPTNeoXForSequenceClassification(config)


def trained(module, args, ranks, dtype):
    """`module` under korlhf.engine, as a step trains it."""
    model_flags = ModelFlags(
        model_name_or_path=args.model_name_or_path or "random", learning_rate=1e-6, zero_stage=args.zero_stage
    )
    return engine.Engine(
        module,
        model_flags,
        ranks,
        dtype=dtype,
        offload=False,
        micro_batch_size=args.batch_size,
        accumulation=1,
        total_steps=10**6,
        schedule="constant",
        num_warmup_steps=0,
        max_grad_norm=1.0,
    )


class Layout:
    """While entered, korlhf.data.packing.pack lays rows out as `kind` and is counted.

    packed: as it is. longest: one sequence a row, as wide as the batch's longest. limit: one sequence a row of `limit` tokens.
    `real` and `computed` are tokens since `reset`. Padding is masked out by restarting positions in all three.
    """

    def __init__(self, kind, limit):
        self.kind, self.limit, self.own = kind, limit, packing.pack
        self.reset()

    def reset(self):
        self.real = self.computed = 0

    def __enter__(self):
        packing.pack = self.lay_out
        return self

    def __exit__(self, *_):
        packing.pack = self.own

    def lay_out(self, sequences):
        if self.kind == "packed":
            packed = self.own(sequences)
        else:
            longest = max(
                map(len, sequences)
            )  # an answer written out for the reward model may be longer than the limit
            packed = one_a_row(sequences, max(self.limit, longest) if self.kind == "limit" else longest)
        self.real += sum(map(len, sequences))
        self.computed += packed.ids.numel()
        return packed


def one_a_row(sequences, width):
    """packing.Packed with sequence s at the left of row s, rows `width` tokens wide."""
    ids, positions = torch.zeros(2, len(sequences), width, dtype=torch.long)
    for row, s in enumerate(sequences):
        ids[row, : len(s)] = torch.tensor(s)
        positions[row, : len(s)] = torch.arange(len(s))
        positions[row, len(s) :] = torch.arange(width - len(s))
    return packing.Packed(
        ids, positions, torch.arange(len(sequences)) * width, torch.tensor([len(s) for s in sequences])
    )


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

    def forward(self, lengths, predicted):
        """Operations of one forward pass over sequences of `lengths` tokens, with logits at `predicted` tokens."""
        return 2 * (self.body * sum(lengths) + self.head * predicted) + self.attention * sum(n * n for n in lengths)

    def training(self, lengths, predicted):
        return 3 * self.forward(lengths, predicted)


def synchronise(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Clock(log.Clock):
    """program.Clock that waits for the accelerator before it reads the time."""

    def __init__(self, device):
        synchronise(device)
        super().__init__()
        self.device = device

    def lap(self):
        synchronise(self.device)
        return super().lap()


def matrix_peak(dtype, device, seconds):
    """Best FLOP/s of square matrix products, and their size: several sizes, each for `seconds` at least twice."""
    best = (0.0, 0)
    for n in (2048, 4096, 8192) if device.type == "cuda" else (256, 512, 1024, 2048):
        a, b = torch.randn(2, n, n, device=device, dtype=engine.DTYPES[dtype])
        a @ b
        clock, began, quickest, runs = Clock(device), time.perf_counter(), math.inf, 0
        while runs < 2 or time.perf_counter() - began < seconds:
            for _ in range(inner := 10 if device.type == "cuda" else 1):
                a @ b
            quickest = min(quickest, clock.lap() / inner)
            runs += 1
        best = max(best, (2 * n**3 / quickest, n))
        if quickest > 2 * seconds:  # larger ones would take minutes
            break
    return best


def throughput(ranks, seconds, samples, tokens, flops, real, computed):
    """Figures of a timed phase over all ranks: counts are summed, the slowest rank's seconds count.

    tokens: real ones that went through training or sampling once; real, computed: all that forward passes saw, for the padding share.
    """
    samples, tokens, flops, real, computed = ranks.sum([samples, tokens, flops, real, computed]).tolist()
    seconds = max(ranks.gather(seconds))
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


def compared(of_layouts):
    """{layout: figures of throughput} -> the same with `time_ratio`, seconds over those of packed rows."""
    return {kind: {**f, "time_ratio": f["seconds"] / of_layouts["packed"]["seconds"]} for kind, f in of_layouts.items()}


def measure(args, ranks, batches, layouts, step, forward_flops):
    """Time steps 1 and 2: (figures of packed rows, peak memory in MiB, comparison of layouts or None).

    batches: endless lists of a step's sequences (Tokens, or lists of them); step: function of one such list, ending synchronised or not;
    forward_flops: function batch -> (samples, real tokens, FLOP of the step).
    """
    packed = layouts["packed"]
    for _ in range(args.warmup_steps):
        with packed:
            step(next(batches))
    reset_peak(ranks.device)
    packed.reset()
    clock, totals, seconds = Clock(ranks.device), [0, 0, 0], 0.0
    for _ in range(args.steps):
        batch = next(batches)
        clock.lap()
        with packed:
            step(batch)
        seconds += clock.lap()
        totals = [a + b for a, b in zip(totals, forward_flops(batch))]
    figures = throughput(ranks, seconds, *totals, packed.real, packed.computed)
    memory = max(ranks.gather(log.peak_memory_mb(ranks.device)))
    return figures, memory, compare(args, ranks, batches, layouts, step, forward_flops) if args.compare_steps else None


def compare(args, ranks, batches, layouts, step, forward_flops):
    """The same batches in every layout, in turn, so that a change of the machine's pace meets all alike; each layout is warmed up once."""
    chosen = [next(batches) for _ in range(args.compare_steps)]
    seconds = dict.fromkeys(layouts, 0.0)
    clock = Clock(ranks.device)
    for number, batch in enumerate([chosen[0], *chosen]):
        for kind, layout in layouts.items():
            clock.lap()
            with layout:
                step(batch)
            took = clock.lap()
            if number == 0:
                layout.reset()
            else:
                seconds[kind] += took
    totals = [sum(t) for t in zip(*map(forward_flops, chosen))]
    return compared(
        {k: throughput(ranks, seconds[k], *totals, layout.real, layout.computed) for k, layout in layouts.items()}
    )


def reset_peak(device):
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def start(args):
    """Join the processes and seed this one: (Ranks, dtype, random.Random of this rank)."""
    ranks = engine.start(args.local_rank)
    torch.manual_seed(args.seed)
    return ranks, engine.resolve_dtype(args.dtype, ranks.device), random.Random(args.seed * 1009 + ranks.rank)


def machine(args, ranks, dtype):
    """The machine and its matrix-product peak, over all ranks, measured now."""
    flops, size = matrix_peak(dtype, ranks.device, args.peak_seconds)
    name = (
        torch.cuda.get_device_name(ranks.device)
        if ranks.device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    return {
        "device": name,
        "processes": ranks.world,
        "dtype": dtype,
        "matrix_peak_flops_per_second": float(ranks.sum([flops])[0]),
        "matrix_size": size,
    }


def show(title, args, ranks, result):
    """Print the figures and write them to --output; rank 0 only. result: model, machine, phases {name: throughput}, memory, layouts."""
    peak = result["machine"]["matrix_peak_flops_per_second"]
    for f in [*result["phases"].values(), *(result["layouts"] or {}).values()]:
        f["share_of_matrix_peak"] = f["model_flops_per_second"] / peak
    result = {"benchmark": title, **result, "formula": FORMULA, "flags": vars(args), "versions": program.versions()}
    if not ranks.first:
        return
    m = result["machine"]
    print(
        f"{title}\nmodel: {result['model']}\nmachine: {m['device']}, {m['processes']} process(es), {m['dtype']}, matrix-product peak "
        f"{peak / 1e9:,.1f} GFLOP/s (n = {m['matrix_size']})\npeak memory: {result['peak_memory_mb']:,.0f} MiB\n"
    )
    print(f"{'':<10}{'seconds':>9}{'samples/s':>11}{'real tokens/s':>15}{'padding':>9}{'GFLOP/s':>10}{'of peak':>9}")
    for name, f in result["phases"].items():
        print(
            f"{name:<10}{f['seconds']:>9.2f}{f['samples_per_second']:>11.2f}{f['real_tokens_per_second']:>15,.0f}"
            f"{f['padding_share']:>9.1%}{f['model_flops_per_second'] / 1e9:>10,.1f}{f['share_of_matrix_peak']:>9.1%}"
        )
    if result["layouts"]:
        print(
            f"\nlayout of rows, the same {args.compare_steps} step(s) each\n"
            f"{'':<10}{'seconds':>9}{'real tokens/s':>15}{'padding':>9}{'time':>9}"
        )
        for name, f in result["layouts"].items():
            print(
                f"{name:<10}{f['seconds']:>9.2f}{f['real_tokens_per_second']:>15,.0f}{f['padding_share']:>9.1%}{f['time_ratio']:>8.2f}x"
            )
    print(f"\n{FORMULA}")
    if args.output:
        output = Path(args.output).expanduser()
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, result)
        print(f"written: {args.output}")


def described(model):
    """One line on a model."""
    config = model.config.get_text_config()
    return (
        f"{config.model_type}, {sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters, "
        f"{config.num_hidden_layers} layers of {config.hidden_size}, vocabulary {config.vocab_size}"
    )

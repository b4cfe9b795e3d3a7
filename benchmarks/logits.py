"""Memory of log-probabilities: whole logits, as most programs make them, and chunks of tokens, as the steps do.

python benchmarks/logits.py [--tokens 1024 --hidden_size 64 --vocab_sizes 30080 152064 262144]

Measured, each case in a process of its own: what the forward and backward pass (training) or the forward pass with
entropy (scoring) add at most to the head, its gradient and the hidden states, and seconds of the CPU or GPU.
"""

import multiprocessing
import time
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

from korlhf.core import program
from korlhf.core.flags import Parser, add, check_positive, flag, read
from korlhf.models import causal_lm


@dataclass(frozen=True, kw_only=True)
class LogitsFlags:
    """logits"""

    tokens: int = flag(1024, "tokens whose log-probabilities are wanted")
    hidden_size: int = flag(64, "width of the hidden states")
    vocab_sizes: list[int] = flag([30_080, 152_064, 262_144], "rows of the output embedding", above=0)
    dtype: str = flag("fp32", "precision of the head", choices=["fp32", "bf16"])


def naive(lm, hidden, targets, with_entropy):
    """Log-probabilities (M,), and entropies, from logits that are there as a whole, several times."""
    logits = causal_lm.head_logits(lm, hidden)
    if not with_entropy:
        return -F.cross_entropy(logits, targets, reduction="none")
    logps = logits.log_softmax(-1)
    return logps.gather(-1, targets.unsqueeze(-1)).squeeze(-1), -(logps.exp() * logps).sum(-1)


def chunked(lm, hidden, targets, with_entropy):
    return causal_lm.token_logps(lm, hidden, targets, with_entropy=with_entropy)


def head_of(vocab_size, args, device):
    """A language model with nothing but a head, hidden states and targets."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    head = nn.Linear(args.hidden_size, vocab_size, bias=False, device=device, dtype=dtype)
    head.weight.grad = torch.zeros_like(head.weight)
    text = SimpleNamespace(vocab_size=vocab_size)
    lm = SimpleNamespace(get_output_embeddings=lambda: head, config=SimpleNamespace(get_text_config=lambda: text))
    hidden = torch.randn(args.tokens, args.hidden_size, device=device, dtype=dtype, requires_grad=True)
    return lm, hidden, torch.randint(vocab_size, (args.tokens,), device=device)


class Peak:
    """Bytes that the block needs at most beyond what was there, and its seconds."""

    def __init__(self, device):
        self.device = device

    def __enter__(self):
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # forgets the highest resident size so far
            self.before = _resident("VmRSS")
        self.at = time.process_time() if self.device.type == "cpu" else time.perf_counter()
        return self

    def __exit__(self, *_):
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            self.bytes = torch.cuda.max_memory_allocated() - self.before
            self.seconds = time.perf_counter() - self.at
        else:
            self.bytes, self.seconds = _resident("VmHWM") - self.before, time.process_time() - self.at


def _resident(name):
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith(name))


def measure(job):
    """(bytes, seconds) of one way at one vocabulary, training or scoring."""
    args, vocab_size, way, training = job
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lm, hidden, targets = head_of(vocab_size, args, device)
    with Peak(device) as peak, torch.set_grad_enabled(training):
        out = way(lm, hidden, targets, not training)
        if training:
            out.sum().backward()
    return peak.bytes, peak.seconds


def main(argv=None):
    parser = Parser(description="Memory of log-probabilities, measured: whole logits and chunks of tokens.")
    add(parser, LogitsFlags)
    args = read(parser.parse_args(argv), LogitsFlags)
    check_positive({name: getattr(args, name) for name in ("tokens", "hidden_size")}, parser)
    print(f"{args.tokens} tokens, hidden size {args.hidden_size}, {args.dtype}, CUDA {torch.cuda.is_available()}")
    print("| vocabulary | pass | whole logits | chunks | whole: s | chunks: s |\n|---|---|---|---|---|---|")
    spawn = multiprocessing.get_context("spawn")
    for vocab_size in args.vocab_sizes:
        for training in (True, False):
            cells = []
            for way in (naive, chunked):
                with spawn.Pool(1) as pool:
                    cells.append(pool.apply(measure, ((args, vocab_size, way, training),)))
            (whole, slow), (few, quick) = cells
            name = "training" if training else "scoring, with entropy"
            memory = f"{whole / 2**20:,.0f} MiB | {few / 2**20:,.0f} MiB"
            print(f"| {vocab_size:,} | {name} | {memory} | {slow:.2f} | {quick:.2f} |", flush=True)


if __name__ == "__main__":
    program.run(main)

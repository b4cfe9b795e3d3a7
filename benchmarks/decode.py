"""How fast the sampler is: tokens per second against the memory's roofline, for several batch sizes.

python benchmarks/decode.py --dtype bf16 --hidden_size 2048 --layers 24 --vocab_size 30080

Roofline: a step reads every weight once, and the keys and values of all tokens so far; at the memory's bandwidth it can
be no faster. The bandwidth is the chip's by its vendor, where it is known, else that of a copy, measured.
"""

import statistics
from dataclasses import dataclass
from typing import Any

import bench
import machine
import report
import torch
import trainings
from measure import Clocks

from korlhf.core import flags, program
from korlhf.rl import rollout
from korlhf.training.world import DTYPES, World


@dataclass(frozen=True, kw_only=True)
class DecodeFlags:
    """decoding"""

    batch_sizes: list[int] = flags.flag([16, 64, 256], "prompts sampled at once", above=0)
    prompt: int = flags.flag(128, "tokens of a prompt", above=0)
    new_tokens: int = flags.flag(128, "tokens of an answer", above=0)
    rounds: int = flags.flag(1, "timed rounds of each batch size, after a short one for warm-up", above=0)


def step_bytes(lm: Any, batch: int, context: float, element: int) -> float:
    """Bytes that a decoding step reads: weights but for the embedding look-up, keys and values of `context` tokens."""
    config = lm.config.get_text_config()
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    weights = sum(p.numel() for p in lm.parameters()) - lm.get_input_embeddings().weight.numel()
    return element * (weights + 2 * config.num_hidden_layers * batch * context * kv_heads * head)


@torch.no_grad()
def decode(lm: Any, batch: int, more: DecodeFlags, world: World) -> list[float]:
    """Seconds of each round: `batch` prompts of random tokens, answers that never end."""
    size = lm.get_input_embeddings().weight.size(0)
    prompts = torch.randint(4, size, (batch, more.prompt)).tolist()

    def sample(new):
        rollout.sample(lm, prompts, list(range(batch)), -1, rollout.Limits(max_new_tokens=new), batch)

    sample(min(8, more.new_tokens))
    seconds = []
    for _ in range(more.rounds):
        clocks = Clocks()
        sample(more.new_tokens)
        seconds.append(clocks.read()[0])
    return seconds


def main():
    args, more = bench.parse("Benchmark of the sampler", more=DecodeFlags)
    world, dtype, _ = bench.start(args)
    lm = trainings.language_model(args, world, dtype).eval()
    about = machine.described(world, dtype, args.peak_seconds)
    known = machine.chip(about["device"])
    measured = machine.bandwidth(world.device, args.peak_seconds)
    bytes_per_second, element = known[1] if known else measured, DTYPES[dtype].itemsize
    print(f"{about['device']}, {dtype}: {bytes_per_second / 1e9:,.0f} GB/s, of a copy {measured / 1e9:,.0f} GB/s")
    print(f"{'batch':>6}{'tokens/s':>12}{'roofline':>12}{'share':>8}")
    batches = []
    for batch in more.batch_sizes:
        seconds = decode(lm, batch, more, world)
        roofline = batch * bytes_per_second / step_bytes(lm, batch, more.prompt + more.new_tokens / 2, element)
        rate = batch * more.new_tokens / statistics.median(seconds)
        figures = {"tokens_per_second": rate, "roofline_tokens_per_second": roofline, "share": rate / roofline}
        batches.append({"batch": batch, **figures, "seconds": seconds})
        print(f"{batch:>6}{rate:>12,.0f}{roofline:>12,.0f}{rate / roofline:>8.1%}", flush=True)
    memory = {"bytes_per_second": bytes_per_second, "copy_bytes_per_second": measured}
    result = {"benchmark": "decoding", "model": report.model_line(lm), "machine": {**about, **memory}}
    report.write(args.output, {**result, "batches": batches, "flags": {**vars(args), **vars(more)}})


if __name__ == "__main__":
    program.run(main)

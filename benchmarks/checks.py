"""Is it right on this machine? Packed sequences see only themselves in every attention, ZeRO stages agree, a resumed
training is the same to the bit, and the sampler is greedy as `generate` is.

python benchmarks/checks.py --dtype bf16 --hidden_size 2048 --layers 4 --vocab_size 30080
"""

import copy
import gc
import os
import random
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bench
import machine
import report
import torch
import trainings
from transformers.utils import is_flash_attn_2_available

from korlhf.core import program
from korlhf.data.tokenize import Tokens
from korlhf.models.causal_lm import TokenLogps
from korlhf.rl import rollout
from korlhf.training.run import seed_step
from korlhf.training.sft import SftTraining, token_logps
from korlhf.training.world import World

Figures = dict[str, Any]  # "passed" and what was seen
SLACK = 1e-4  # nats; of fp32
STEPS = 4


def attentions() -> list[str]:
    """The kernels that --attn_implementation takes and this machine has."""
    flash = is_flash_attn_2_available() and torch.cuda.is_available()
    return [name for name in bench.ATTENTIONS if flash or not name.startswith("flash_attention")]


def rows(args: bench.BenchFlags, n: int, rng: random.Random) -> list[Tokens]:
    return trainings.sft_rows(bench.draw_lengths(args, 1, args.seq_len, rng), n, args.vocab_size, rng)


@torch.no_grad()
def packed(args: bench.BenchFlags, world: World, dtype: str) -> Figures:
    """Log-probabilities of sequences that share a batch, and two of them a prompt, against each alone in fp32: they may
    be off by what each alone is off in `dtype`, twice. And against themselves with every second neighbour changed,
    which may not matter.
    """
    rng = random.Random(args.seed)
    sequences = rows(args, 8, rng)
    first, other = sequences[0], sequences[1]
    ids = first.ids[: first.prompt] + other.ids[other.prompt :]
    sequences.append(Tokens(ids, [0] * first.prompt + [1] * other.answer))
    torch.manual_seed(args.seed)
    lm = trainings.language_model(args, world, dtype).eval()
    exact = _alone(copy.deepcopy(lm).float(), sequences, world)
    noise = float((_alone(lm, sequences, world) - exact).abs().max())
    figures: Figures = {"passed": True, "noise": noise, "allowed": 2 * noise + SLACK}
    for name in attentions():
        torch.manual_seed(args.seed)
        lm = trainings.language_model(replace(args, attn_implementation=name), world, dtype).eval()
        together = token_logps(TokenLogps(lm, "on"), sequences, world.device)
        off = float((together - exact).abs().max())
        moved = max(_moved(lm, sequences, together, parity, rng, world) for parity in (0, 1))
        figures[name] = {"difference": off, "neighbours": moved, "shares prompts": lm.shares}
        figures["passed"] &= off <= figures["allowed"] and moved <= SLACK
    return figures


def _alone(lm, sequences, world):
    """Log-probabilities of the trained tokens by the model itself, one sequence at a time."""
    found = []
    for s in sequences:
        logps = lm(torch.tensor([s.ids], device=world.device)).logits[0].float().log_softmax(-1)
        found += [logps[i - 1, s.ids[i]] for i in range(1, len(s)) if s.mask[i]]
    return torch.stack(found)


def _moved(lm, sequences, together, parity, rng, world):
    """How far log-probabilities move when every second sequence, those of `parity` aside, gets other tokens."""
    size = lm.get_input_embeddings().weight.size(0)
    kept = [i % 2 == parity for i in range(len(sequences))]
    others = [Tokens([rng.randrange(4, size) for _ in s.ids], s.mask) for s in sequences]
    changed = token_logps(
        TokenLogps(lm, "on"), [s if k else o for s, o, k in zip(sequences, others, kept)], world.device
    )
    n = [sum(s.mask) for s in sequences]
    pairs = zip(kept, together.split(n), changed.split(n))
    return max(float((a - b).abs().max()) for keep, a, b in pairs if keep)


def training(args: bench.BenchFlags, world: World, dtype: str) -> SftTraining:
    """A training of step 1 over the same few batches, from the same weights."""
    torch.manual_seed(args.seed)
    lm = trainings.language_model(args, world, dtype)
    n = args.batch_size * world.size
    return trainings.sft(lm, args, world, dtype, rows(args, n, random.Random(args.seed)))


def losses(sft: SftTraining, args: bench.BenchFlags, numbers: range) -> list[float]:
    """Losses of steps that train the same examples again and again."""
    everyone, size, found = list(range(args.batch_size * sft.world.size)), args.batch_size, []
    mine = [everyone[sft.world.rank * size : (sft.world.rank + 1) * size]]
    for number in numbers:
        seed_step(args.seed, number, sft.world.rank)
        found.append(sft.train_step(number, mine, everyone)["loss"])
    return found


def zero(args: bench.BenchFlags, world: World, dtype: str) -> Figures:
    """Losses of the same steps under ZeRO 0, 2 and 3: apart by at most a twentieth of how far they fall."""
    found = {}
    for stage in (0, 2, 3):
        found[f"stage {stage}"] = losses(training(replace(args, zero_stage=stage), world, dtype), args, range(STEPS))
        free()
    fall = found["stage 0"][0] - found["stage 0"][-1]
    apart = max(abs(a - b) for other in found.values() for a, b in zip(found["stage 0"], other))
    return {"passed": fall > 0 and apart <= fall / 20, "fall": fall, "apart": apart, **found}


def resume(args: bench.BenchFlags, world: World, dtype: str) -> Figures:
    """Two steps after a checkpoint, in the training that wrote it and in one that read it: equal to the bit, with
    torch's deterministic algorithms.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            written = training(args, world, dtype)
            losses(written, args, range(2))
            written.actor.save(folder)
            read = training(replace(args, seed=args.seed + 1), world, dtype)
            read.rows = written.rows
            read.actor.load(folder)
            found = [losses(one, args, range(2, STEPS)) for one in (written, read)]
            weights = [one.actor.state_dict() for one in (written, read)]
    finally:
        torch.use_deterministic_algorithms(False)
    same = all(torch.equal(a, b) for a, b in zip(weights[0].values(), weights[1].values()))
    return {"passed": found[0] == found[1] and same, "uninterrupted": found[0], "resumed": found[1], "weights": same}


@torch.no_grad()
def greedy(args: bench.BenchFlags, world: World, dtype: str) -> Figures:
    """Answers of the sampler at temperature 0 and of transformers' generate, in fp32; an answer ends at the fifth token
    of the first one.
    """
    del dtype
    torch.manual_seed(args.seed)
    lm, rng = trainings.language_model(args, world, "fp32").eval(), random.Random(args.seed)
    prompts = [row.ids[: args.seq_len // 2] for row in rows(args, 8, rng)]
    new = args.seq_len // 4
    free_running = _generate(lm, prompts[0], new, None, world)
    end = free_running[4]
    expected = [_generate(lm, prompt, new, end, world) for prompt in prompts]
    limits = rollout.Limits(max_new_tokens=new, temperature=0.0)
    sampled = rollout.sample(lm, prompts, list(range(len(prompts))), end, limits)
    wrong = [i for i, (a, b) in enumerate(zip(sampled, expected)) if a != b]
    return {"passed": not wrong, "answers": len(prompts), "tokens": sum(map(len, expected)), "wrong": wrong}


def _generate(lm, prompt, new, end, world):
    ids = torch.tensor([prompt], device=world.device)
    how = {"do_sample": False, "max_new_tokens": new, "eos_token_id": end, "pad_token_id": 0}
    lm.generation_config.eos_token_id = None
    out = lm.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)
    return out[0, len(prompt) :].tolist()


def free() -> None:
    """Give the memory of what is no longer used back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


CHECKS: dict[str, Callable[[bench.BenchFlags, World, str], Figures]] = {
    "packed": packed,
    "zero": zero,
    "resume": resume,
    "greedy": greedy,
}


def main():
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first matrix product; for `resume`
    defaults = {"batch_size": 8, "learning_rate": 1e-4}
    args, _ = bench.parse("Checks: is it right on this machine?", **defaults)
    world, dtype, _ = bench.start(args)
    results = {}
    for name, check in CHECKS.items():
        try:
            results[name] = check(args, world, dtype)
        except Exception as error:  # the other checks still run
            traceback.print_exc()
            results[name] = {"passed": False, "error": f"{type(error).__name__}: {error}"}
        free()
        print(f"{name}: {'passed' if results[name]['passed'] else 'FAILED'} {results[name]}", flush=True)
    about = machine.described(world, dtype, args.peak_seconds)
    report.write(args.output, {"benchmark": "checks", "machine": about, "checks": results, "flags": vars(args)})
    return 0 if all(r["passed"] for r in results.values()) else 1


if __name__ == "__main__":
    program.run(main)

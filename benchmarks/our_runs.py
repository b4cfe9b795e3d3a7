"""This project's side of compare.py: python our_runs.py SPEC LAYOUT."""

import json
import sys
from typing import Any

import bench
import trainings
from layouts import Flops, Layout
from measure import Steps, batch_of
from rounds import Turns

from korlhf.core import program
from korlhf.data.tokenize import Tokens
from korlhf.rl import step as ppo_step
from korlhf.rl.rewards import Prompt
from korlhf.rl.training import PpoTraining
from korlhf.training.ppo_flags import PpoFlags
from korlhf.training.world import World


def build(spec: dict[str, Any], args: bench.BenchFlags, world: World, dtype: str) -> Steps:
    """The training of a spec of compare.py."""
    if spec["task"] == "sft":
        lm = trainings.language_model(args, world, dtype)
        flops = Flops(lm)
        rows = [Tokens(*row) for row in spec["rows"]]
        return Steps(trainings.sft(lm, args, world, dtype, rows), args, flops, flops)
    scorer = trainings.scoring_model(args, world, dtype)
    flops = Flops(scorer)
    if spec["task"] == "reward":
        groups = [[Tokens(*row) for row in group] for group in spec["rows"]]
        return Steps(trainings.reward(scorer, args, world, dtype, groups), args, flops, flops)
    lm, reference = trainings.actor_and_reference(args, spec["mean_answer"], world, dtype)
    lm_flops = Flops(lm)
    models = trainings.ppo_models(lm, reference, args, world, dtype)
    prompts = [Prompt(ids, ({"role": "user", "content": text},), "all") for ids, text in spec["rows"]]
    same = dict.fromkeys(("per_device_generation_batch_size", "per_device_training_batch_size"), args.batch_size)
    limits = dict.fromkeys(("max_prompt_seq_len", "max_answer_seq_len"), args.seq_len // 2)
    return Steps(trainings.ppo(models, args, PpoFlags(**same, **limits), prompts), args, lm_flops, flops)


def prepare(steps: Steps, batch: Any, layout: str) -> None:
    """The answers that a padded layout uses, outside of the clock."""
    training = steps.training
    if layout == "packed" or not isinstance(training, PpoTraining):
        return
    prompts = [training.prompts[i] for i in batch[2]]
    with Layout("packed", 0, *steps.flops, steps.answers):
        ppo_step.sample(training.models, prompts, list(range(len(prompts))), training.flags)


def main():
    turns = Turns()
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    layout, args = sys.argv[2], bench.BenchFlags(**spec["flags"])
    world, dtype, _ = bench.start(args)
    steps, number, losses = build(spec, args, world, dtype), 0, []
    for number in range(args.warmup_steps):
        batch = batch_of(number, args.batch_size, world)
        prepare(steps, batch, layout)
        steps(batch, layout)
        losses.append(steps.metrics.get("loss"))
    turns.ready(versions=program.versions(), loss=losses[0] if losses else None)
    at = args.warmup_steps
    while True:
        batches = [batch_of(at + i, args.batch_size, world) for i in range(args.steps)]
        for batch in batches:
            prepare(steps, batch, layout)
        if not turns.wait():
            return
        phases = [steps(batch, layout) for batch in batches]
        whole = [found.get("total", found["training"]) for found in phases]
        turns.answer(samples=sum(p.samples for p in whole), tokens=sum(p.tokens for p in whole))
        at += args.steps
        if at * args.batch_size >= len(spec["rows"]):
            return


if __name__ == "__main__":
    program.run(main)

"""DpoTraining in one process without DeepSpeed, on the words of toy_policy."""

import copy
from functools import partial
from types import SimpleNamespace

import torch
from toy_policy import ALONE, FakeEngine, make_models

from korlhf.data.example import Example
from korlhf.data.tokenize import reward_tokens
from korlhf.rl import rollout
from korlhf.training import examples
from korlhf.training.dpo import DpoTraining
from korlhf.training.dpo_flags import PreferenceFlags
from korlhf.training.examples import Split
from korlhf.training.loop import Order
from korlhf.training.reference import Asked


class Actor(FakeEngine):
    world, lr, skipped = ALONE, 1e-2, 0

    def grad_norm(self):
        return None


def ranked(prompt, *answers, **more):
    return Example(({"role": "user", "content": prompt},), answers, **more)


def split_of(codec, rows):
    return Split(*reward_tokens(codec, rows, 64))


def moved(actor, seed=1):
    """Away from the reference."""
    torch.manual_seed(seed)
    for p in actor.module.parameters():
        p.data += 0.05 * torch.randn_like(p)


def training(codec, folder, rows, heldout=(), chunks=1, lr=1e-2, drift=0, batch=0, max_steps=0, **flags):
    """(DpoTraining on examples `rows`, all of them a step of `chunks` passes; its language model before training)."""
    models, frozen = make_models(codec, lr=lr)
    actor = Actor(models.actor.module, lr, chunks)
    preferences = PreferenceFlags(**flags)
    split = split_of(codec, rows)
    if preferences.loss == "kto":
        split = examples.unpaired(split, 64, 0)
    held = split_of(codec, heldout) if heldout else Split([], [])
    order = Order(len(split), batch or len(split) // chunks, chunks, 1, max_steps, 0, ALONE)
    folder.mkdir(exist_ok=True)
    settings = {"model_name_or_path": "toy", "inputs": {"model_name_or_path": "0"}, "dtype": "fp32", "seed": 0}
    settings |= {"load_in_4bit": False, "max_answer_seq_len": 4}
    sample = partial(rollout.sample, eos_token_id=codec.eos_token_id, limits=rollout.Limits(4))
    asked = Asked.of(held.rows, drift, 60, 0, sample, 4)
    run = SimpleNamespace(dir=folder, settings=settings)
    return DpoTraining(actor, preferences, codec, (split, held), order, asked, run), copy.deepcopy(frozen)


def step(t, number=1):
    """One step on all rows: its metrics."""
    n, size = len(t.train), t.order.batch_size
    return t.train_step(number, [list(range(i, i + size)) for i in range(0, n, size)], list(range(n)))

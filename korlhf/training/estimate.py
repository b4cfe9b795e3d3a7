"""--estimate_memory: what the flags of a step take on each GPU, phase by phase, and what other flags would make of it.

Every sequence is taken to be as long as allowed: packed shorter texts need less.
"""

import functools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers.utils import logging

from korlhf.training.flags import ModelFlags, RunFlags, TrainFlags
from korlhf.training.memory import FILL, Counted, Phases, Spread, update, weights
from korlhf.training.ppo_flags import PpoFlags
from korlhf.training.world import World, resolve_dtype

ANSWERS = 2  # per prompt where answers are ranked
GIB = 2**30


@dataclass(frozen=True)
class Given:
    """The flags of a step, with its models by their prefix ("", or "actor_" and "critic_"); gpus: one per process;
    rewards: the reward models of --reward, None without it.

    step: 1, 2, 3, or the name of another training of ranked answers.
    """

    step: int | str
    models: Mapping[str, ModelFlags]
    batch: Any  # TrainFlags; of step 3 PpoFlags
    run: RunFlags
    gpus: int
    dtype: str
    rewards: Sequence[str] | None = None

    @property
    def reward_models(self) -> Sequence[str]:
        """Of step 3."""
        if self.rewards is not None:
            return self.rewards
        return [self.batch.reward_model_name_or_path or self.models["critic_"].model_name_or_path]

    def spread(self, model: ModelFlags) -> Spread:
        return Spread(zero_stage=model.zero_stage, gpus=self.gpus, offload=self.run.offload, dtype=self.dtype)

    def counted(self, prefix: str, reward: bool) -> Counted:
        model = replace(self.models[prefix], zero_stage=0)  # which does not change what a pass takes
        return _counted(model.model_name_or_path, model, self.dtype, reward, self.run.trust_remote_code)


@functools.cache
def _counted(*how: Any) -> Counted:
    return Counted(*how)


def say(
    step: int | str,
    models: Mapping[str, ModelFlags],
    batch: TrainFlags | PpoFlags,
    run: RunFlags,
    rewards: Sequence[str] | None = None,
) -> None:
    """Print the report of a step, in the first process. rewards: as of Given."""
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)  # transformers' and peft's names for checkpointing
    if os.environ.get("RANK", "0") == "0":
        gpus = max(run.estimate_memory, int(os.environ.get("WORLD_SIZE", "1")))
        dtype = resolve_dtype(run.dtype, World.alone().device)
        print(report(Given(step, models, batch, run, gpus, dtype, rewards)))


def report(given: Given) -> str:
    """What a run takes, whether it fits, and what each change of flags that helps would make of it."""
    phases = estimate(given)
    most = peak(phases)
    sizes: dict[str, float] = {"24 GB": 24, "40 GB": 40, "80 GB": 80}
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        sizes = {f"this GPU ({memory:.0f} GiB)": memory}
    fits = next((f"fits {name}" for name, size in sizes.items() if most <= size * FILL * GIB), "")
    where = f"{given.gpus} GPUs" if given.gpus > 1 else "1 GPU"
    lines = [f"step {given.step}, {where}, {given.dtype}, computed from the models' configs:", table(phases)]
    lines += [f"peak {most / GIB:.2f} GiB on each GPU: {fits or f'does not fit {list(sizes)[-1]}'}"]
    others = [(peak(estimate(changed)), text) for text, changed in changes(given)]
    return "\n".join(lines + [f"  with {text}: {n / GIB:.2f} GiB" for n, text in sorted(others) if n < most])


def peak(phases: Phases) -> float:
    """Bytes of the phase that takes most."""
    return max(sum(parts.values()) for parts in phases.values())


def table(phases: Phases) -> str:
    """A line per phase: GiB of all and of each part above 0."""
    lines = []
    for name, parts in phases.items():
        told = ", ".join(f"{what} {n / 2**30:.2f}" for what, n in parts.items() if n)
        lines.append(f"  {name}: {sum(parts.values()) / 2**30:.2f} GiB ({told})")
    return "\n".join(lines)


def estimate(given: Given) -> Phases:
    """Phases of a step."""
    if given.step == 3:
        return _ppo(given)
    flags, several = given.batch, given.batch.gradient_accumulation_steps > 1
    tokens = flags.per_device_train_batch_size * flags.max_seq_len * (1 if given.step == 1 else ANSWERS)
    model = given.counted("", given.step == 2)
    return update(model, given.spread(given.models[""]), tokens, tokens, several)


def _ppo(given) -> Phases:
    flags: PpoFlags = given.batch
    actor, of_actor, of_critic = given.counted("actor_", False), *map(given.spread, given.models.values())
    scorers = [_counted(path, None, given.dtype, True, given.run.trust_remote_code) for path in given.reward_models]
    length = flags.max_prompt_seq_len + flags.max_answer_seq_len
    rows, sampled = flags.per_device_training_batch_size, flags.per_device_generation_batch_size
    several = flags.gradient_accumulation_steps > 1
    updates = {"actor": update(actor, of_actor, rows * length, rows * flags.max_answer_seq_len, several)}
    if flags.has_critic:
        scorers.append(critic := given.counted("critic_", True))
        updates["critic"] = update(critic, of_critic, rows * length, 0, several)
        if flags.one_pass(sampled * flags.generation_batches):  # both passes are made before the actor's backward pass
            for parts in updates["actor"].values():
                parts["activations of the critic"] = updates["critic"]["training"]["activations"]
    at_rest = {name: sum(u["training"][k] for k in ("parameters", "optimizer")) for name, u in updates.items()}
    all_at_rest = sum(at_rest.values()) + _frozen(given)
    phases = {
        f"{phase} of the {name}": parts | {"other models": all_at_rest - at_rest[name]}
        for name, found in updates.items()
        for phase, parts in found.items()
    }
    models = {"models and optimizers": all_at_rest}
    gathered = actor.whole if of_actor.zero_stage == 3 else 0  # whole weights to sample with
    phases["sampling"] = models | {
        "gathered weights": gathered,
        "KV cache": sampled * length * actor.cache,
        "prompts": sum(actor.run(sampled * flags.max_prompt_seq_len, sampled, train=False)),
    }
    scored = sum(actor.run(rows * length, rows * flags.max_answer_seq_len, train=False))
    valued = max((sum(scorer.run(sampled * length, train=False)) for scorer in scorers), default=0)
    return phases | {"scoring": models | {"logits and hidden states": max(scored, valued)}}


def _frozen(given) -> float:
    """Bytes of the reference, unless it is the actor with its adapter off or there is none, and of reward models."""
    flags, trust, total = given.batch, given.run.trust_remote_code, 0.0
    (of_actor, a), (of_critic, c) = ((given.models[p], given.spread(given.models[p])) for p in ("actor_", "critic_"))
    path = flags.reference_model_name_or_path or ("" if of_actor.lora_dim else of_actor.model_name_or_path)
    if path and flags.kl_coef:
        model = _counted(path, None, given.dtype, False, trust)
        total += weights(model.whole, model.params, replace(a, offload=flags.offload_reference_model))
    for path in given.reward_models:
        model = _counted(path, None, given.dtype, True, trust)
        total += weights(model.whole, model.params, replace(c, offload=False))
    return total


def changes(given: Given) -> Iterator[tuple[str, Given]]:
    """(text, what it makes of `given`) of flags that may save memory."""
    models, several = given.models.values(), given.gpus > 1

    def with_models(**changed):
        texts = [k if v is True else f"{k} {v}" for k, v in changed.items()]
        flags = [f"--{prefix}{text}" for text in texts for prefix in given.models]
        return " ".join(flags), replace(given, models={p: replace(m, **changed) for p, m in given.models.items()})

    if not all(m.gradient_checkpointing for m in models):
        yield with_models(gradient_checkpointing=True)
    if not all(m.lora_dim for m in models):
        yield with_models(lora_dim=16)
    elif not any(m.load_in_4bit or m.zero_stage == 3 for m in models):
        yield with_models(load_in_4bit=True)
    if several and not any(m.load_in_4bit or m.zero_stage == 3 for m in models):
        yield with_models(zero_stage=3)
    if not given.run.offload:
        text, changed = with_models(zero_stage=max(2, *(m.zero_stage for m in models)))
        yield f"{text} --offload", replace(changed, run=replace(given.run, offload=True))
    sizes = ("per_device_train_batch_size", "per_device_training_batch_size", "per_device_generation_batch_size")
    halves = {name: getattr(given.batch, name) // 2 for name in sizes if getattr(given.batch, name, 0) > 1}
    if halves:
        text = " ".join(f"--{name} {n}" for name, n in halves.items())
        yield text, replace(given, batch=replace(given.batch, **halves))

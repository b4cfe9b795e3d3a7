"""Responders that a judge cannot judge fairly: models that were trained to please it, and the judge itself."""

import json
from pathlib import Path

from korlhf.eval.texts import say
from korlhf.llm import checkpoint
from korlhf.training.ppo_flags import NAMES
from korlhf.training.reward_flags import reward_model_of


def of(judge, responders):
    """Warnings (tables.both). judge: of judges.open_judge; responders: {name: how its answers came}, as
    responders.answers returns it."""
    if judge.kind == "reward_model":
        lines = [
            _trained_against(judge, n, how["model"]) for n, how in responders.items() if how["kind"] == "checkpoint"
        ]
        return [line for line in lines if line]
    return [say("conflicts.itself", judge=judge.name, name=n) for n, how in responders.items() if _same(judge, how)]


def _same(judge, how):
    if judge.kind == "openai":
        return how["kind"] == "server" and how["model"] == judge.name
    return how.get("fingerprint") == judge.fingerprint


def _trained_against(judge, name, path):
    """A warning if the model in `path` is of a step 3 run against this reward model, or against one that cannot be
    compared any more."""
    settings = _settings_of(path)
    recorded = reward_model_of(settings or {})
    if not recorded:
        return None
    values = {"name": name, "path": recorded, "algorithm": NAMES.get(settings.get("advantage_estimator"), "PPO")}
    there = Path(recorded).expanduser().is_dir()
    if recorded == judge.path or (there and checkpoint.fingerprint(recorded) == judge.fingerprint):
        return say("conflicts.trained", **values)
    return None if there else say("conflicts.gone", **values)


def _settings_of(path):
    """The settings of a step 3 run. path: its folder, or one in it (best/, actor_ema/); None for others."""
    folder = Path(path).expanduser().resolve()
    for file in (folder / "settings.json", folder.parent / "settings.json"):
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or some other program's file of that name
            continue
        if isinstance(settings, dict) and "actor_model_name_or_path" in settings:
            return settings
    return None

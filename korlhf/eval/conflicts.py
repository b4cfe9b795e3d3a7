"""Responders that a judge cannot judge fairly: models that were trained to please it, and the judge itself."""

from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import read_json
from korlhf.eval.texts import say
from korlhf.models.fingerprint import fingerprint
from korlhf.training.ppo_flags import NAMES
from korlhf.training.reward_flags import SERVICES, kind_of, rewards_of

REWARD_MODEL = "reward_model:"


def of(judge, responders):
    """Warnings (tables.both). judge: of judges.open_judge; responders: {name: how its answers came}, as
    responders.answers returns it."""
    if judge.kind == "reward_model":
        lines = [
            _trained_against(judge, n, how["model"]) for n, how in responders.items() if how["kind"] == "checkpoint"
        ]
        return [line for line in lines if line]
    return [say("conflicts.itself", judge=judge.name, name=n) for n, how in responders.items() if _same(judge, how)]


def raised(judge, settings):
    """Whether a step 3 training raised the score of this very judge; None = that cannot be told: of a server, or of a
    model that is no folder here. judge: text of --judge; settings: of the training's settings.json."""
    rewards = rewards_of(settings)
    found = [None for reward in rewards if kind_of(reward) in SERVICES]
    if judge.startswith(REWARD_MODEL):
        path = judge.removeprefix(REWARD_MODEL)
        found += [_same_model(reward, path) for reward in rewards if kind_of(reward) == "model"]
    return True if True in found else None if None in found else False


def _same_model(one, other):
    """Whether two paths are of one reward model, by the paths or the bytes; None if they cannot be compared here."""
    if one == other:
        return True
    folders = [Path(path).expanduser() for path in (one, other)]
    if not all(folder.is_dir() for folder in folders):
        return None
    try:
        return folders[0].samefile(folders[1]) or len({fingerprint(folder, whole=False) for folder in folders}) == 1
    except (InputError, OSError):  # an adapter's base is not to be found
        return None


def _same(judge, how):
    if judge.kind == "openai":
        return how["kind"] == "server" and how["model"] == judge.name
    return how.get("fingerprint") == judge.fingerprint


def _trained_against(judge, name, path):
    """A warning if the model in `path` is of a step 3 run against this reward model, or against one that cannot be
    compared any more."""
    settings = _settings_of(path)
    paths = [reward for reward in rewards_of(settings or {}) if kind_of(reward) == "model"]
    same = next((path for path in paths if _same_model(path, judge.path)), "")
    gone = next((path for path in paths if not Path(path).expanduser().is_dir()), "")
    if not same and not gone:
        return None
    values = {"name": name, "path": same or gone, "algorithm": NAMES.get(settings.get("advantage_estimator"), "PPO")}
    return say("conflicts.trained" if same else "conflicts.gone", **values)


def _settings_of(path):
    """The settings of a step 3 run. path: its folder, or one in it (best/, actor_ema/); None for others."""
    folder = Path(path).expanduser().resolve()
    for file in (folder / "settings.json", folder.parent / "settings.json"):
        try:
            settings = read_json(file)
        except (OSError, ValueError):  # not there, or some other program's file of that name
            continue
        if isinstance(settings, dict) and "actor_model_name_or_path" in settings:
            return settings
    return None

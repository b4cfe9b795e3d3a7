"""Where the weights in a folder come from: the trainings behind them, their data and figures, and a licence.

Read from what the steps leave next to a model (settings.json, finished.json). No name in it is a path of this machine.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import hf_hub_download
from huggingface_hub.repocard import metadata_load

from korlhf.core.errors import InputError
from korlhf.training.reward_flags import Spec, kind_of, reward_model_of

TRAINED_FROM = ("actor_model_name_or_path", "model_name_or_path")  # of step 3, of steps 1 and 2
DATA = ("data_path", "sft_only_data_path", "unsupervised_dataset_name")
PARTS = ("adapter", "best", "actor_ema", "critic")  # folders of further models in the folder of a training
LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Origin:
    """One link of the chain.

    name: a hub name, or the last part of the path of the training that made it; path: as written; data: names;
    figures: name -> value; reward, reward_data: of step 3, the reward model's name and the data of its trainings.
    """

    name: str
    path: str
    data: tuple[str, ...]
    figures: dict[str, Any]
    reward: str = ""
    reward_data: tuple[str, ...] = ()


def chain(path: str, judged: bool = True) -> list[Origin]:
    """Origins of a model, from itself back to the base that no training here made; judged: with the reward models of
    step 3.

    Raises InputError for a broken settings.json.
    """
    origins: list[Origin] = []
    while path and path not in [o.path for o in origins]:
        run = _run(path)
        settings = _json(run / "settings.json") if run else {}
        data = tuple(bare(name) for key in DATA for name in _list(settings.get(key)))
        figures = _flat(_json(run / "finished.json")) if run else {}
        reward, reward_data = _reward(settings) if judged else ("", ())
        origins.append(Origin(name_of(path), path, data, figures, reward, reward_data))
        path = next((settings[key] for key in TRAINED_FROM if settings.get(key)), None) or _base_of_adapter(path)
    return origins


def _reward(settings) -> tuple[str, tuple[str, ...]]:
    """(name, data) of the reward model that a training of step 3 was judged by; ("", ()) of another training."""
    path = reward_model_of(settings)
    if not path or "actor_model_name_or_path" not in settings:
        return "", ()
    trainings = chain(path, judged=False)
    return trainings[0].name, tuple(dict.fromkeys(name for origin in trainings for name in origin.data))


def _run(path):
    """The folder of the training that wrote the model in `path`: itself, or the one above of adapter/, best/ ...; or
    None.
    """
    folder = Path(path).expanduser().resolve()
    while folder.name in PARTS and not (folder / "settings.json").is_file():
        folder = folder.parent
    return folder if (folder / "settings.json").is_file() else None


def _base_of_adapter(path):
    file = Path(path).expanduser() / "adapter_config.json"
    return "" if (file.parent / "config.json").exists() else _json(file).get("base_model_name_or_path", "")


def _json(path):
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; correct it, or take it away") from error
    return value if isinstance(value, dict) else {}


def _list(value):
    return [value] if isinstance(value, str) and value else value or []


def name_of(path: str) -> str:
    """A hub name as it is; of a model's folder the last part of the path of the training that made it."""
    return bare(str(_run(path) or path))


def rewards(specs: Sequence[Spec]) -> str:
    """--reward as a card shows it: weights and names, without paths and addresses of this machine."""
    shown = {
        "model": name_of,
        "file": lambda text: Path(text).name,
        "http": lambda text: "a server of scores",
        "judge": lambda text: text.partition("@")[0],
        "rules": str,
    }
    named = (",".join(shown[kind_of(text)](text) for text in spec.members) for spec in specs)
    return ", ".join(f"{spec.number:g}*{name}" for spec, name in zip(specs, named))


def bare(name: str) -> str:
    """A hub or dataset name as it is; of a path on this machine the last part."""
    path = Path(name).expanduser()
    return path.resolve().name if path.exists() or path.is_absolute() or name.startswith((".", "~")) else name


def _flat(values, before=""):
    """Numbers of nested dicts under names joined by blanks; figures by category are left out."""
    flat, intervals = {}, values.get("ci95")
    for key, value in values.items():
        name = f"{before} {key}".strip().replace("_", " ")
        if isinstance(value, dict) and key != "by_category":
            flat.update(_flat(value, name))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            known = isinstance(intervals, dict) and key in intervals
            rounded = value if isinstance(value, int) else float(f"{value:.4g}")
            flat[name] = measured(values, key) if known else rounded
    return flat


def measured(figures: dict[str, Any] | None, name: str) -> str:
    """A figure to four digits, with its interval where there is one; "" if it is not there."""
    if not figures or name not in figures:
        return ""
    interval = figures.get("ci95")
    interval = interval.get(name) if isinstance(interval, dict) else None
    said = f"{figures[name]:.4g}"
    return said + (f" [{interval[0]:.4g}, {interval[1]:.4g}]" if interval else "")


def trainings(origins: Sequence[Origin]) -> list[dict[str, Any]]:
    """The trainings of a chain, the first one first, as plain data: name, data, and the reward model's name or ""."""
    return [{"name": o.name, "data": list(o.data), "reward": o.reward} for o in origins[-2::-1]]


def licence(origins: Sequence[Origin], given: str = "", fetch: bool = True) -> tuple[str, str]:
    """(licence id as the hub writes it, where it was found): `given`, else of the nearest card in the chain that
    states one. fetch: also from the hub, not from its cache alone.

    Raises InputError if there is none, or `given` is no id.
    """
    if given and not LICENCE_ID.fullmatch(given):
        raise InputError(
            f"--license {given}: not a licence as the hub writes it: small letters, digits, hyphens and dots, "
            "e.g. apache-2.0 or cc-by-nc-4.0; other, if the hub has no name for it"
        )
    if given:
        return given, "--license"
    for origin in origins:
        stated = _front_matter(origin.path, fetch).get("license")
        if isinstance(stated, str) and stated:
            return stated, f"the card of {origin.name}"
    raise InputError(
        f"--license: not given, and no card of {', '.join(o.name for o in origins)} states one; give the licence of "
        "the base model and the data, e.g. --license apache-2.0 or cc-by-nc-4.0"
    )


def _front_matter(path, fetch):
    """The YAML at the top of a model's card, {} if it has none here; of a hub name of what is in the cache or can be
    fetched.
    """
    folder = Path(path).expanduser()
    try:
        file = folder / "README.md"
        if not folder.is_dir() and path.count("/") == 1:
            file = Path(hf_hub_download(path, "README.md", local_files_only=not fetch))
        return (metadata_load(file) if file.is_file() else None) or {}
    except (
        OSError,
        ValueError,
        yaml.YAMLError,
    ):  # no such name, no network, a broken card: then the user has to say it
        return {}

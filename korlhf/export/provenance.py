"""Where the weights in a folder come from: the trainings behind them, their data and figures, a licence, and the card that says so.

Read from what the steps leave beside a model (settings.json, finished.json). A card holds no path of this machine.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from korlhf import __version__
from korlhf.errors import InputError

TRAINED_FROM = ("actor_model_name_or_path", "model_name_or_path")  # of step 3, of steps 1 and 2
DATA = ("data_path", "sft_only_data_path", "unsupervised_dataset_name")


@dataclass(frozen=True)
class Origin:
    """One link of the chain. name: a hub name, or the last part of a path; path: as written; data: names; figures: name -> value."""
    name: str
    path: str
    data: tuple[str, ...]
    figures: dict


def chain(path):
    """Origins of a model, from itself back to the base that no training here made. Raises InputError for a broken settings.json."""
    found = []
    while path and path not in [o.path for o in found]:
        run = _run(path)
        settings = _json(run / "settings.json") if run else {}
        data = tuple(_bare(name) for key in DATA for name in _list(settings.get(key)))
        found.append(Origin(_bare(path), path, data, flat(_json(run / "finished.json")) if run else {}))
        path = next((settings[key] for key in TRAINED_FROM if settings.get(key)), None) or _adapters_base(path)
    return found


def _run(path):
    """The folder of the training that wrote the model in `path`: itself, or of adapter/ and best/ the one above; None if there is none."""
    folder = Path(path).expanduser().resolve()
    above = [folder.parent] if folder.name in ("adapter", "best", "ema") else []
    return next((f for f in [folder, *above] if (f / "settings.json").is_file()), None)


def _adapters_base(path):
    file = Path(path).expanduser() / "adapter_config.json"
    return _json(file).get("base_model_name_or_path") if not (file.parent / "config.json").exists() else None


def _json(path):
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; correct it, or take it away") from error
    return found if isinstance(found, dict) else {}


def _list(value):
    return [value] if isinstance(value, str) and value else value or []


def _bare(name):
    """A hub or dataset name as it is; of a path on this machine the last part."""
    path = Path(name).expanduser()
    return path.resolve().name if path.exists() or path.is_absolute() or name.startswith((".", "~")) else name


def flat(values, before=""):
    """Numbers of nested dicts under names joined by blanks; figures by category are left out."""
    found = {}
    for key, value in values.items():
        name = f"{before} {key}".strip().replace("_", " ")
        if isinstance(value, dict) and key != "by_category":
            found.update(flat(value, name))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = value if isinstance(value, int) else float(f"{value:.4g}")
    return found


def licence(origins, given=""):
    """(licence id as the hub writes it, where it was found): `given`, else of the nearest card in the chain that states one.

    Raises InputError if there is none.
    """
    if given:
        return given, "--license"
    for origin in origins:
        stated = front_matter(_card(origin.path)).get("license")
        if isinstance(stated, str) and stated:
            return stated, f"the card of {origin.name}"
    raise InputError(f"--license: not given, and no card of {', '.join(o.name for o in origins)} states one; give the licence of the base "
                     "model and the data, e.g. --license apache-2.0 or cc-by-nc-4.0")


def _card(path):
    """Text of a model's card, "" if it has none here; of a hub name what is in the cache or can be fetched."""
    folder = Path(path).expanduser()
    file = folder / "README.md"
    if not folder.is_dir() and path.count("/") == 1:
        from huggingface_hub import hf_hub_download
        try:
            file = Path(hf_hub_download(path, "README.md"))
        except (OSError, ValueError):  # no such name, no network, no card: then the user has to say it
            return ""
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def front_matter(card):
    """The YAML at the top of a card as a dict; {} if there is none."""
    parts = card.split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        found = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def card(title, origins, base, licence_id, template, settings, check):
    """README.md of an exported model.

    base: name of the base model; template: how a prompt is written out; settings, check: name -> value.
    """
    head = {"license": licence_id, "language": ["ko"], "library_name": "transformers", "pipeline_tag": "text-generation",
            "tags": ["korlhf"]}
    if base.count("/") == 1:
        head["base_model"] = base
    lines = ["---", yaml.safe_dump(head, allow_unicode=True, sort_keys=False).strip(), "---", "", f"# {title}", "",
             f"A Korean chat model, trained with KoRLHF {__version__} from `{base}`.", "", "## How it was made", ""]
    for origin in reversed(origins[:-1]):
        lines.append(f"- `{origin.name}`: trained on {', '.join(origin.data) or 'data that is not recorded'}")
    lines += ["", "## Measured in its last training", "", *(table(origins[0].figures) or ["Nothing is recorded."]), "",
              "## How it is written to", "", "The chat template in this folder, ended by the token in `generation_config.json`:", "", "```", template, "```", "",
              "## Export", "", *table({**settings, **check}), "", "## Licence", "", licence_note(licence_id, base, origins)]
    return "\n".join(lines) + "\n"


def table(values):
    """Markdown lines of a table of two columns; none for no values."""
    return ["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in values.items())] if values else []


def licence_note(licence_id, base, origins):
    """What LICENSE says."""
    data = list(dict.fromkeys(name for origin in origins for name in origin.data))
    return (f"These weights are published under: {licence_id}\n\nThey derive from {base}, whose licence holds for them too"
            + ", as do the terms of the data that they were trained on" + (f": {', '.join(data)}." if data else ".")
            + "\nRead those before you use, publish or sell anything.")

"""Where the weights in a folder come from: the trainings behind them, their data and figures, a licence, and the card that says so.

Read from what the steps leave beside a model (settings.json, finished.json). A card holds no path of this machine.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from korlhf import __version__
from korlhf.core.errors import InputError

TRAINED_FROM = ("actor_model_name_or_path", "model_name_or_path")  # of step 3, of steps 1 and 2
REWARD = (
    "reward_model_name_or_path",
    "critic_model_name_or_path",
)  # of step 3, whose critic begins as the reward model
DATA = ("data_path", "sft_only_data_path", "unsupervised_dataset_name")
HELD_OUT = ("heldout before ", "heldout after ")  # of the figures that every step takes before and after it trains
LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

path = "."  # this folder, or its name on the hub
tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
prompt = tokenizer.apply_chat_template([{"role": "user", "content": "오늘은 기분이 울적해요."}], add_generation_prompt=True,
                                       return_dict=True, return_tensors="pt")
answer = model.generate(**prompt, max_new_tokens=128)[0, prompt.input_ids.shape[1]:]
print(tokenizer.decode(answer, skip_special_tokens=True))
```"""


@dataclass(frozen=True)
class Origin:
    """One link of the chain. name: a hub name, or the last part of the path of the training that made it; path: as written; data: names;
    figures: name -> value; reward, reward_data: of step 3, the reward model's name and the data of its trainings."""

    name: str
    path: str
    data: tuple[str, ...]
    figures: dict
    reward: str = ""
    reward_data: tuple[str, ...] = ()


def chain(path, judged=True):
    """Origins of a model, from itself back to the base that no training here made; judged: with the reward models of step 3.

    Raises InputError for a broken settings.json.
    """
    found = []
    while path and path not in [o.path for o in found]:
        run = _run(path)
        settings = _json(run / "settings.json") if run else {}
        data = tuple(_bare(name) for key in DATA for name in _list(settings.get(key)))
        figures = flat(_json(run / "finished.json")) if run else {}
        found.append(Origin(_bare(str(run or path)), path, data, figures, *(_reward(settings) if judged else ())))
        path = next((settings[key] for key in TRAINED_FROM if settings.get(key)), None) or _adapters_base(path)
    return found


def _reward(settings):
    """(name, data) of the reward model that a training of step 3 was judged by; ("", ()) of another training."""
    path = next((settings[key] for key in REWARD if settings.get(key)), "")
    if not path or "actor_model_name_or_path" not in settings:
        return "", ()
    trainings = chain(path, judged=False)
    return trainings[0].name, tuple(dict.fromkeys(name for origin in trainings for name in origin.data))


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

    Raises InputError if there is none, or `given` is no id.
    """
    if given and not LICENCE_ID.fullmatch(given):
        raise InputError(
            f"--license {given}: not a licence as the hub writes it: small letters, digits, hyphens and dots, e.g. apache-2.0 "
            "or cc-by-nc-4.0; other, if the hub has no name for it"
        )
    if given:
        return given, "--license"
    for origin in origins:
        stated = front_matter(_card(origin.path)).get("license")
        if isinstance(stated, str) and stated:
            return stated, f"the card of {origin.name}"
    raise InputError(
        f"--license: not given, and no card of {', '.join(o.name for o in origins)} states one; give the licence of the base "
        "model and the data, e.g. --license apache-2.0 or cc-by-nc-4.0"
    )


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
    head = {
        "license": licence_id,
        "language": ["ko"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["korlhf"],
    }
    if base.count("/") == 1:
        head["base_model"] = base
    lines = [
        "---",
        yaml.safe_dump(head, allow_unicode=True, sort_keys=False).strip(),
        "---",
        "",
        f"# {title}",
        "",
        f"A Korean chat model, trained with KoRLHF {__version__} from `{base}`. Its answers can be wrong, made up or harmful.",
        "",
        f"`{base}`에서 출발해 KoRLHF({__version__})로 학습한 한국어 대화 모델입니다. 틀리거나 지어낸 답, 해로운 답을 할 수 있습니다.",
        "",
        "## Use it",
        "",
        USE,
        "",
        "## How it was made",
        "",
        *map(_made, reversed(origins[:-1])),
    ]
    lines += [
        "",
        "## Measured in its last training",
        "",
        *(_figures(origins[0].figures) or ["Nothing is recorded."]),
        "",
        "## Prompt format",
        "",
        "The chat template in this folder, ended by the token in `generation_config.json`:",
        "",
        "```",
        template,
        "```",
        "",
        "## Export",
        "",
        *table({**settings, **check}),
        "",
        "## Licence",
        "",
        licence_note(licence_id, base, origins),
    ]
    return "\n".join(lines) + "\n"


def _made(origin):
    """A line of the card about one training."""
    data = ", ".join(origin.data) or "data that are not recorded"
    if not origin.reward:
        return f"- `{origin.name}`: trained on {data}"
    judged = f", trained on {', '.join(origin.reward_data)}" if origin.reward_data else ""
    return f"- `{origin.name}`: PPO on the prompts of {data}, against the reward model `{origin.reward}`{judged}"


def _figures(figures):
    """Markdown lines: what was measured on held-out data before and after the training, then the rest; none for no figures."""
    before, after = (
        {k.removeprefix(start): v for k, v in figures.items() if k.startswith(start)} for start in HELD_OUT
    )
    rest = {k: v for k, v in figures.items() if not k.startswith(HELD_OUT)}
    lines = [f"| {k} | {before.get(k, '')} | {after.get(k, '')} |" for k in dict.fromkeys((*before, *after))]
    lines = ["| held-out data | before | after |", "|---|---|---|", *lines, ""] if lines else []
    if "score" in after:
        lines += [
            "score: the reward model's own, on no scale; kl: nats an answer, against the model before PPO; friendly: share of answers "
            "that are friendly in form, by written rules.",
            "",
        ]
    return [*lines, *table(rest)]


def table(values):
    """Markdown lines of a table of two columns; none for no values."""
    return ["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in values.items())] if values else []


def licence_note(licence_id, base, origins):
    """What LICENSE says."""
    data = list(dict.fromkeys(name for origin in origins for name in (*origin.data, *origin.reward_data)))
    return (
        f"These weights are published under: {licence_id}\n\nThey derive from {base}, whose licence holds for them too"
        + ", as do the terms of the data that they were trained on"
        + (f": {', '.join(data)}." if data else ".")
        + "\nRead those before you use, publish or sell anything."
    )

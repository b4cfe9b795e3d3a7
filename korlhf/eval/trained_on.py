"""What a reward model was trained on, and which prompts it has therefore seen."""

import json
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data import load
from korlhf.data.near_duplicates import Signatures

SETTINGS = ("data_path", "data_split", "eval_data_path", "eval_share", "seed")


def training_of(path):
    """Examples that a folder of step 2 was trained on, read again by its settings.json; None if there is none, or it is of another program.

    Files that changed since are read as they are now. Raises InputError if settings.json is broken or its data cannot be had.
    """
    file = Path(path).expanduser() / "settings.json"
    if not file.is_file():
        return None
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {error}; give --train_data_path") from error
    if not isinstance(settings, dict) or not all(name in settings for name in SETTINGS):
        return None
    return load.load_step(2, **{name: settings[name] for name in SETTINGS})[0]


def seen(train, examples):
    """Prompts (load.prompt_key) of `examples` that are in `train`: (set of the same ones, set of near-same ones that are not)."""
    known = list(dict.fromkeys(load.prompt_key(e) for e in train))
    asked = list(dict.fromkeys(load.prompt_key(e) for e in examples))
    same = set(known) & set(asked)
    rest = [key for key in asked if key not in same]
    pairs = Signatures([*known, *rest]).pairs()
    near = {rest[j - len(known)] for i, j, _ in pairs if i < len(known) <= j}
    return same, near

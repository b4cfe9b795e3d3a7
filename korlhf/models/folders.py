"""What a model folder says of itself before any library has read it."""

import json
from collections.abc import Iterable
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data.load import check_names


def check_inputs(datasets: Iterable[str], models: Iterable[tuple[str, str]]) -> None:
    """Raises InputError for datasets and models that are not there, before the libraries that read them are imported.

    models: (flag, folder or hub name); "" is passed over.
    """
    check_names(datasets)
    for what, path in models:
        if path:
            check_folder(path, what)


def check_folder(path: str, what: str) -> None:
    """Raises InputError if `path` looks like a local folder and does not exist or holds no model."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists() and not (folder / "adapter_config.json").exists():
            inside = sorted(folder.glob("*/config.json"))
            hint = f", e.g. {inside[0].parent}" if inside else ""
            raise InputError(f"{what} {path}: no config.json in this folder; give the folder of a finished model{hint}")
    elif path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise InputError(
            f"{what} {path}: no such folder; give a model folder or a hub name such as EleutherAI/polyglot-ko-1.3b"
        )


def lora_base(path: str, what: str = "--model_name_or_path") -> str | None:
    """The base model that a LoRA folder is to be laid over; None if `path` is no LoRA folder.

    Raises InputError if the folder is a reward model's adapter, or names no base or one that is not there.
    """
    folder = Path(path).expanduser()
    if (folder / "config.json").exists() or not (folder / "adapter_config.json").exists():
        return None
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base, task = config.get("base_model_name_or_path"), config.get("task_type")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{what} {path}: adapter_config.json cannot be read ({first_line(error)}); save the adapter again"
        ) from error
    if task not in (None, "CAUSAL_LM"):
        raise InputError(f"{what} {path}: an adapter for {task}, not for a language model; give one of step 1 or 3")
    if not base:
        raise InputError(
            f"{what} {path}: its adapter_config.json names no base model; write it into base_model_name_or_path"
        )
    try:
        check_folder(base, "base_model_name_or_path")
    except InputError as error:
        raise InputError(f"{what} {path}: its adapter_config.json says {error}") from error
    return base


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

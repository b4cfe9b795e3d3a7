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
    """Raises InputError if `path` looks like a local folder and does not exist, or holds no model, or a quantised
    one.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists() and not (folder / "adapter_config.json").exists():
            inside = sorted(folder.glob("*/config.json"))
            hint = f", e.g. {inside[0].parent}" if inside else ""
            raise InputError(f"{what} {path}: no config.json in this folder; give the folder of a finished model{hint}")
        if (folder / "config.json").exists():
            check_precision(read_json(folder / "config.json", f"{what} {path}"), f"{what} {path}")
    elif folder.is_file():
        raise InputError(f"{what} {path}: is a file; give the folder of a model")
    elif path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise InputError(
            f"{what} {path}: no such folder; give a model folder or a hub name such as EleutherAI/polyglot-ko-1.3b"
        )


def read_json(file: Path, where: str) -> dict:
    """The object in a JSON file of a model folder; where: for the InputError if it is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        found, reason = None, first_line(error)
    else:
        reason = "it holds no JSON object"
    if not isinstance(found, dict):
        raise InputError(
            f"{where}: {file.name} cannot be read ({reason}); save the model again, or copy the file from its source"
        )
    return found


def check_precision(config: dict, where: str) -> None:
    """Raises InputError for a config.json of quantised weights: they can be neither trained nor merged."""
    if quantised := config.get("quantization_config"):
        method = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else quantised
        raise InputError(
            f"{where}: its weights are quantised ({method}); give the model as it was before "
            "(steps 1 to 3 quantise it themselves with --load_in_4bit; a quantised one can be asked through a server)"
        )


def check_weights(path: str, what: str) -> None:
    """Raises InputError for a local folder whose weights are pickles, or that has none."""
    folder = Path(path).expanduser()
    if not folder.is_dir() or list(folder.glob("*.safetensors")):
        return
    if list(folder.glob("*.bin")) or list(folder.glob("*.pt")):
        raise InputError(
            f"{what} {path}: its weights are pickles, which can run code; save it once as safetensors, if you trust "
            "it: from_pretrained and save_pretrained of transformers do that"
        )
    raise InputError(f"{what} {path}: no weights (*.safetensors) in this folder; give the folder of a finished model")


def lora_base(path: str, what: str = "--model_name_or_path") -> str | None:
    """The base model that a LoRA folder is to be laid over; None if `path` is no LoRA folder.

    Raises InputError if the folder is a reward model's adapter, or names no base or one that is not there.
    """
    folder = Path(path).expanduser()
    if (folder / "config.json").exists() or not (folder / "adapter_config.json").exists():
        return None
    config = read_json(folder / "adapter_config.json", f"{what} {path}")
    base, task = config.get("base_model_name_or_path"), config.get("task_type")
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
    """The first line of an error's text, or its type; what to do about a model that comes with Python code."""
    if "trust_remote_code=True" in str(error):
        return "it comes with Python code of its own; read that code, and to run it give --trust_remote_code"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

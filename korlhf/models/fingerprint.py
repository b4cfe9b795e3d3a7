"""Which model a folder holds, whatever the folder is called."""

import hashlib
import json
from pathlib import Path

from korlhf.core.errors import InputError

FILES = (
    *("config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab*"),
    *("merges.txt", "*.model", "adapter_*", "*.safetensors", "*.safetensors.index.json", "pytorch_model*", "*.py"),
)
BLOCK, BLOCKS = 64 * 1024, 1024


def fingerprint(path: str | Path, whole: bool = True) -> str:
    """sha256 over what makes a model folder answer as it does: configuration, tokenizer, template, adapter and
    weights.

    whole: byte for byte. Otherwise a file of more than 64 MiB is told by its size and 1,024 blocks of 64 KiB spread
    evenly over it: every matrix of 25 MB in a file of 25 GB is met, so a training is noticed, also one of LoRA that
    was merged, but not an edit of single values. Of a hub name the commit that is current (or, without a network, the
    cached one) stands for the bytes. An adapter includes its base. Raises InputError if a hub name cannot be found.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return _digest({"hub": str(path), "commit": _commit(str(path))})
    parts = {p.name: _of_file(p, whole) for pattern in FILES for p in sorted(folder.glob(pattern)) if p.is_file()}
    if "adapter_config.json" in parts:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        parts["base"] = fingerprint(config["base_model_name_or_path"], whole)
    return _digest(parts)


def _digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _of_file(path, whole):
    size = path.stat().st_size
    with open(path, "rb") as file:
        if whole or size <= BLOCK * BLOCKS:
            return hashlib.file_digest(file, "sha256").hexdigest()
        found = hashlib.sha256(str(size).encode())
        for i in range(BLOCKS):
            file.seek((size - BLOCK) * i // (BLOCKS - 1))
            found.update(file.read(BLOCK))
        return found.hexdigest()


def _commit(name):
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "config.json")).parent.name
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: no such folder, and not found on the hub: {str(error).splitlines()[0]}") from error

"""The model of a GGUF file as a folder: whole weights, configuration, tokenizer with the template that the file has."""

import struct
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from korlhf.applications.export.gguf import joined
from korlhf.core.errors import InputError
from korlhf.core.files import whole_folder
from korlhf.models.checks import check_causal, check_rows
from korlhf.models.finite import check_finite
from korlhf.models.folders import first_line
from korlhf.models.save import share_weights
from korlhf.training.world import DTYPES

# What the readers of transformers and gguf raise for a file that is cut, garbled or of an unknown architecture.
UNREADABLE = (OSError, ValueError, LookupError, TypeError, RuntimeError, ImportError, struct.error)


def run(paths: list[Path], folder: Path, dtype: str) -> None:
    """Import, and say what came out. Raises InputError if the file cannot be read."""
    where = f"--gguf {paths[0]}"
    logging.disable_progress_bar()
    with joined(paths, folder) as file:
        lm, tokenizer = read(file, where, dtype)
        check_finite(lm, "--gguf", str(paths[0]))
        with whole_folder(folder) as part:
            lm.save_pretrained(part)
            tokenizer.save_pretrained(part)
            share_weights(part)
    logging.enable_progress_bar()
    size = sum(p.numel() for p in lm.parameters()) / 1e6
    template = (
        "with the file's own chat template"
        if tokenizer.chat_template
        else ("no chat template: a base model, which the trainings write to as --prompt_template says (auto: kullm)")
    )
    end = tokenizer.eos_token
    print(f"{folder}: {lm.config.model_type}, {size:.0f}M weights in {dtype}, {len(tokenizer)} tokens, end {end!r}")
    print(f"{template}; its licence is that of the model the file was made of")


def read(file: Path, where: str, dtype: str) -> tuple[Any, Any]:
    """(model, tokenizer) of a GGUF file. Raises InputError, which begins with `where`."""
    how = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(**how)
        lm, info = AutoModelForCausalLM.from_pretrained(**how, dtype=DTYPES[dtype], output_loading_info=True)
    except UNREADABLE as error:
        raise InputError(
            f"{where}: cannot be read: {first_line(error)}; give a whole GGUF file, or all pieces"
        ) from error
    if info["missing_keys"]:
        raise InputError(f"{where}: {sorted(info['missing_keys'])[0]} is missing in it; give the file of a whole model")
    # The weights are whole by now; transformers would still take them for quantised ones, and not save them.
    lm.hf_quantizer = None
    for config in (lm.config, lm.config.get_text_config()):
        vars(config).pop("quantization_config", None)
    check_causal(lm.config, where)
    check_rows(lm, tokenizer, where)
    if tokenizer.eos_token_id is None:
        raise InputError(f"{where}: its tokenizer has no EOS token, which ends every answer; give another file")
    return lm, tokenizer

"""Tokenizers: loading, with a conversation template and a pad token."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from korlhf.core.errors import InputError
from korlhf.data import chat_template
from korlhf.models.folders import check_folder, first_line, lora_base
from korlhf.models.quiet import quiet


def load_tokenizer(
    path: str, prompt_template: str = "auto", trust_remote_code: bool = False, what: str = "--model_name_or_path"
) -> PreTrainedTokenizerBase:
    """The tokenizer in `path` with a conversation template installed and a pad token (EOS where it has none).

    A LoRA folder without a tokenizer has its base's. prompt_template: auto = its own template, else kullm; chat = its
    own, or an error; kullm or human_assistant = that one. Raises InputError if there is no tokenizer, no EOS, or no
    template.
    """
    quiet()
    check_folder(path, what)
    base = lora_base(path, what)
    if base is not None and not list(Path(path).expanduser().glob("tokenizer*")):
        path = base
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{what} {path}: no tokenizer could be loaded ({first_line(error)}); "
            "copy the tokenizer files of the base model into this folder"
        ) from error
    start = tokenizer("가").input_ids[:1]
    if not tokenizer("가", add_special_tokens=False).input_ids:  # transformers makes an empty one of a bare folder
        raise InputError(
            f"{what} {path}: no tokenizer in this folder; copy the tokenizer files of the base model into it"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{what} {path}: its tokenizer has no EOS token, which ends every answer; "
            "set eos_token in tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if prompt_template == "chat" and not tokenizer.chat_template:
        raise InputError(
            f"--prompt_template chat: {path} has no chat template of its own; give kullm or human_assistant"
        )
    if prompt_template in chat_template.TEMPLATES or (prompt_template == "auto" and not tokenizer.chat_template):
        name = "kullm" if prompt_template == "auto" else prompt_template
        adds_bos = tokenizer.bos_token_id is not None and start == [tokenizer.bos_token_id]
        tokenizer.chat_template = chat_template.template_source(name, adds_bos)
    return tokenizer


def shown_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """How a prompt is written out, for people: the text around "{prompt}"."""
    talk = [{"role": "user", "content": "{prompt}"}]
    return str(tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True))

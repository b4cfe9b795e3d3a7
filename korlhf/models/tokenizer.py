"""Tokenizers: loading, with a conversation template and a pad token."""

from pathlib import Path

from transformers import AutoTokenizer

from korlhf.core.errors import InputError
from korlhf.data import chat_template as templates
from korlhf.models.causal_lm import _first_line as first_line
from korlhf.models.causal_lm import check_folder, lora_base


def load_tokenizer(path, prompt_template="auto", trust_remote_code=False, what="--model_name_or_path"):
    """The tokenizer in `path` with a conversation template installed and a pad token (EOS where it has none).

    A LoRA folder without a tokenizer has its base's.
    prompt_template: auto = its own template, else kullm; chat = its own, or an error; kullm or human_assistant = that one.
    Raises InputError if there is no tokenizer, no EOS, or no template.
    """
    check_folder(path, what)
    base = lora_base(path, what)
    if base is not None and not list(Path(path).expanduser().glob("tokenizer*")):
        path = base
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{what} {path}: no tokenizer could be loaded ({first_line(error)}); "
            "copy the tokenizer files of the base model into this folder"
        ) from error
    if not tokenizer(
        "가", add_special_tokens=False
    ).input_ids:  # transformers makes an empty tokenizer for a folder without its files
        raise InputError(
            f"{what} {path}: no tokenizer in this folder; copy the tokenizer files of the base model into it"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{what} {path}: its tokenizer has no EOS token, which ends every answer; set eos_token in tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if prompt_template == "chat" and not tokenizer.chat_template:
        raise InputError(
            f"--prompt_template chat: {path} has no chat template of its own; give kullm or human_assistant"
        )
    if prompt_template in templates.TEMPLATES or (prompt_template == "auto" and not tokenizer.chat_template):
        name = "kullm" if prompt_template == "auto" else prompt_template
        start = tokenizer("가").input_ids[:1]
        adds_bos = tokenizer.bos_token_id is not None and start == [tokenizer.bos_token_id]
        tokenizer.chat_template = templates.template_source(name, adds_bos)
    return tokenizer

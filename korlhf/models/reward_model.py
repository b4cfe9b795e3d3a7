"""Reward models and critics: a trunk and a scalar head, kept as a plain transformers sequence-classification
checkpoint.

The score of an answer is the head's output at its last token, which is always the token that ends an answer.
transformers looks for the last token that is not padding, so a saved reward model gets a pad token other than that
one (Polyglot-Ko and KULLM have pad = EOS, and would be read one token early): then AutoModelForSequenceClassification
gives the same score.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from korlhf.core.errors import InputError
from korlhf.data.packing import Packed
from korlhf.models.causal_lm import load, load_config, whole_weights
from korlhf.models.checks import check_rows, embedding_rows
from korlhf.models.finite import check_finite
from korlhf.models.folders import check_folder, first_line, read_json
from korlhf.models.lora import gathered, without_adapter
from korlhf.models.packed import hidden_states


def load_reward_model(path: str, what: str = "--model_name_or_path", new_head: bool = False, **kwargs) -> Any:
    """A sequence-classification model with one label; kwargs: as of causal_lm.load.

    new_head: `path` is a language model and the head is to be made; otherwise a checkpoint without a head is an
    InputError. A DeepSpeed-Chat reward checkpoint (rwtransformer.*, v_head.weight) is recognised and read.
    """
    check_folder(path, what)
    foreign = _deepspeed_chat_weights(Path(path))
    if foreign is not None and kwargs.get("load_in_4bit"):
        raise InputError(
            f"{what} {path}: a DeepSpeed-Chat checkpoint is not read in 4 bits; leave load_in_4bit out, or save it "
            "again as a transformers model first"
        )
    if foreign is not None:
        with whole_weights():
            return _from_deepspeed_chat(path, foreign, what, **kwargs)
    model, info = load(AutoModelForSequenceClassification, path, what, num_labels=1, output_loading_info=True, **kwargs)
    head = scalar_head(model)
    missing = [k for k in info["missing_keys"] if not k.startswith(("score", "classifier"))]
    if missing:
        raise InputError(f"{what} {path}: weights are missing in this checkpoint: {', '.join(sorted(missing)[:3])} ...")
    if new_head:
        with gathered(head.weight):
            new = nn.init.normal_(torch.empty(head.weight.shape), std=1 / (head.in_features + 1) ** 0.5)
            head.weight.data.copy_(new)  # drawn in fp32 on the CPU, whatever the precision and the device
    elif info["missing_keys"]:
        raise InputError(
            f"{what} {path}: not a reward model (it has no score head); train one with step 2 and give its folder"
        )
    return model


def has_head(path: str | Path) -> bool:
    """Whether a local folder is a sequence-classification or DeepSpeed-Chat reward checkpoint.

    hub names are taken at their word.
    """
    config = Path(path) / "config.json"
    if not config.exists():
        return True
    architectures = read_json(config, str(path)).get("architectures") or []
    return any("SequenceClassification" in a for a in architectures) or _deepspeed_chat_weights(Path(path)) is not None


def scalar_head(model: Any) -> Any:
    """The linear layer (1, D) of a sequence-classification model.

    Raises InputError if the architecture calls it something else.
    """
    head = getattr(without_adapter(model), "score", None)
    if head is None:
        raise InputError(
            f"{model.name_or_path}: architecture {model.config.model_type!r} has no `score` head in transformers; "
            "use a decoder-only model"
        )
    return getattr(head, "original_module", head)


def _deepspeed_chat_weights(folder):
    """The weights of a DeepSpeed-Chat reward checkpoint, or None if `folder` is something else."""
    file = folder / "pytorch_model.bin"
    if (folder / "model.safetensors").exists() or not file.exists():
        return None
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)  # tensors only: nothing in it can run
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise InputError(
            f"{file}: holds more than tensors, or is damaged ({first_line(error)}); save the model again as safetensors"
        ) from error
    return weights if isinstance(weights, dict) and any(k.startswith("rwtransformer.") for k in weights) else None


def _from_deepspeed_chat(path, weights, what, **kwargs):
    config = load_config(path, kwargs.get("dropout"), num_labels=1)
    model = AutoModelForSequenceClassification.from_config(
        config, attn_implementation=kwargs.get("attn_implementation", "sdpa"), dtype=kwargs.get("dtype", torch.float32)
    )
    prefix, expected = model.base_model_prefix + ".", model.state_dict()
    renamed = {
        ("score.weight" if k == "v_head.weight" else prefix + k.removeprefix("rwtransformer.")): v
        for k, v in weights.items()
    }
    wrong = f"{what} {path}: a DeepSpeed-Chat reward checkpoint that does not fit its config.json: "
    other = next((k for k, v in renamed.items() if k in expected and v.shape != expected[k].shape), None)
    if other:
        shapes = f"{tuple(renamed[other].shape)} here, {tuple(expected[other].shape)} by the config"
        raise InputError(f"{wrong}{other} is {shapes}")
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    buffers = (".attention.bias", ".masked_bias", "inv_freq")  # of older versions
    unexpected = [k for k in unexpected if not k.endswith(buffers)]
    if missing or unexpected:
        raise InputError(
            f"{wrong}{len(missing)} weights missing, {len(unexpected)} unknown, e.g. {(missing + unexpected)[0]}"
        )
    check_finite(model, what, path)
    return model


class TokenValues(nn.Module):
    """A reward model or critic that returns its head's output at every token of packed sequences."""

    def __init__(self, model: nn.Module, packing: str = "auto"):
        """packing: as of packed.hidden_states."""
        super().__init__()
        self.model: Any = model
        self.packing = packing

    def forward(self, packed: Packed) -> torch.Tensor:
        """packed: T tokens -> values (T,), fp32."""
        model: Any = without_adapter(self.model)
        return model.score(hidden_states(model, packed, self.packing)).float().flatten()


def set_padding(model: Any, tokenizer: PreTrainedTokenizerBase, eos_token_id: int) -> None:
    """Make plain transformers find the last token: pad, on the right, with a special token that never ends a
    sequence.

    Taken in this order: the pad token, the unknown token, another special token, a new `<|pad|>` (in a spare row of
    the embedding if there is one). An ordinary token would not do: made special, it would change how text is
    tokenised.
    """
    check_rows(model, tokenizer, model.name_or_path)
    special = sorted(i for i, t in tokenizer.added_tokens_decoder.items() if t.special)
    candidates = [tokenizer.pad_token_id, tokenizer.unk_token_id, *special]
    pad = next((i for i in candidates if i is not None and i != eos_token_id), None)
    tokenizer.add_special_tokens({"pad_token": "<|pad|>" if pad is None else tokenizer.convert_ids_to_tokens(pad)})
    tokenizer.padding_side = "right"
    pad_id: Any = tokenizer.pad_token_id
    if pad_id >= embedding_rows(model):
        model.resize_token_embeddings(pad_id + 1)
    model.config.pad_token_id = pad_id

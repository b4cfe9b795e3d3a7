"""Reward models and critics: a trunk and a scalar head, kept as a plain transformers sequence-classification checkpoint.

The score of an answer is the head's output at its last token, which is always the token that ends an answer. transformers looks for
the last token that is not padding, so a saved reward model gets a pad token other than that one (Polyglot-Ko and KULLM have pad = EOS,
and would be read one token early): then AutoModelForSequenceClassification gives the same score.
"""

import json
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from korlhf.core.errors import InputError
from korlhf.models import causal_lm as models
from korlhf.models import lora


def load_reward_model(path, what="--model_name_or_path", new_head=False, **kwargs):
    """A sequence-classification model with one label and no dropout of its own choosing.

    new_head: `path` is a language model and the head is to be made; otherwise a checkpoint without a head is an InputError.
    A DeepSpeed-Chat reward checkpoint (rwtransformer.*, v_head.weight) is recognised and read.
    """
    models.check_folder(path, what)
    foreign = _deepspeed_chat_weights(Path(path))
    if foreign is not None:
        return _from_deepspeed_chat(path, foreign, what, **kwargs)
    model, info = models.load(
        AutoModelForSequenceClassification, path, what, num_labels=1, output_loading_info=True, **kwargs
    )
    head = scalar_head(model)
    missing = [k for k in info["missing_keys"] if not k.startswith(("score", "classifier"))]
    if missing:
        raise InputError(f"{what} {path}: weights are missing in this checkpoint: {', '.join(sorted(missing)[:3])} ...")
    if new_head:
        nn.init.normal_(head.weight, std=1 / (head.in_features + 1) ** 0.5)
    elif info["missing_keys"]:
        raise InputError(
            f"{what} {path}: not a reward model (it has no score head); train one with step 2 and give its folder"
        )
    return model


def has_head(path):
    """Whether a local folder is a sequence-classification or DeepSpeed-Chat reward checkpoint; hub names are taken at their word."""
    config = Path(path) / "config.json"
    if not config.exists():
        return True
    architectures = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
    return any("SequenceClassification" in a for a in architectures) or _deepspeed_chat_weights(Path(path)) is not None


def scalar_head(model):
    """The linear layer (1, D) of a sequence-classification model. Raises InputError if the architecture calls it something else."""
    head = getattr(lora.without_adapter(model), "score", None)
    if head is None:
        raise InputError(
            f"architecture {model.config.model_type!r} has no `score` head in transformers; use a decoder-only model"
        )
    return getattr(head, "original_module", head)


def _deepspeed_chat_weights(folder):
    """The weights of a DeepSpeed-Chat reward checkpoint, or None if `folder` is something else."""
    if (folder / "model.safetensors").exists() or not (folder / "pytorch_model.bin").exists():
        return None
    weights = torch.load(
        folder / "pytorch_model.bin", map_location="cpu", weights_only=True
    )  # tensors only: nothing in it can run
    return weights if any(k.startswith("rwtransformer.") for k in weights) else None


def _from_deepspeed_chat(path, weights, what, **kwargs):
    config = models.load_config(path, kwargs.get("dropout"), num_labels=1)
    model = AutoModelForSequenceClassification.from_config(
        config, attn_implementation=kwargs.get("attn_implementation", "sdpa"), dtype=kwargs.get("dtype", torch.float32)
    )
    prefix = model.base_model_prefix + "."
    renamed = {
        ("score.weight" if k == "v_head.weight" else prefix + k.removeprefix("rwtransformer.")): v
        for k, v in weights.items()
    }
    expected = model.state_dict()
    other = [k for k, v in renamed.items() if k in expected and v.shape != expected[k].shape]
    if other:
        raise InputError(
            f"{what} {path}: a DeepSpeed-Chat reward checkpoint that does not fit its config.json: {other[0]} is "
            f"{tuple(renamed[other[0]].shape)} here, {tuple(expected[other[0]].shape)} by the config"
        )
    missing, unexpected = model.load_state_dict(renamed, strict=False)
    unexpected = [
        k for k in unexpected if not k.endswith((".attention.bias", ".masked_bias", "inv_freq"))
    ]  # buffers of older versions
    if missing or unexpected:
        raise InputError(
            f"{what} {path}: a DeepSpeed-Chat reward checkpoint that does not fit its config.json: "
            f"{len(missing)} weights missing, {len(unexpected)} unknown, e.g. {(missing + unexpected)[0]}"
        )
    return model


class TokenValues(nn.Module):
    """A reward model or critic that returns its head's output at every token of packed rows."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, position_ids):
        """ids, position_ids (N, L) packed rows -> values (N * L,), fp32."""
        model = lora.without_adapter(self.model)
        hidden = model.base_model(input_ids=ids, position_ids=position_ids, use_cache=False).last_hidden_state
        return model.score(hidden).float().flatten()


def set_padding(model, tokenizer, stop_id):
    """Make plain transformers find the last token: pad, on the right, with a special token that never ends a sequence.

    Taken in this order: the pad token, the unknown token, another special token, a new `<|pad|>` (in a spare row of the embedding
    if there is one). An ordinary token would not do: made special, it would change how text is tokenised.
    """
    special = [
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        *sorted(i for i, t in tokenizer.added_tokens_decoder.items() if t.special),
    ]
    found = next((i for i in special if i is not None and i != stop_id), None)
    tokenizer.add_special_tokens({"pad_token": "<|pad|>" if found is None else tokenizer.convert_ids_to_tokens(found)})
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id >= model.get_input_embeddings().weight.size(0):
        model.resize_token_embeddings(tokenizer.pad_token_id + 1)
    model.config.pad_token_id = tokenizer.pad_token_id

"""Causal language models: loading, and log-probabilities of packed tokens.

A LoRA folder (adapter_config.json, no config.json) loads like the model that it makes of its base.

Left out on purpose: LoRA of our own (peft), weight formats other than safetensors, vocabulary resizing (a saved model
keeps its rows).
"""

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerBase

from korlhf.core.errors import InputError
from korlhf.models.folders import check_folder, first_line, lora_base
from korlhf.models.lora import without_adapter
from korlhf.models.packed import hidden_states

# RuntimeError: weights of another shape
UNREADABLE = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)


def load_config(path: str, dropout: float | None = None, **kwargs) -> PreTrainedConfig:
    """AutoConfig.from_pretrained; dropout: a probability for every dropout of the model, None = as it is."""
    config = AutoConfig.from_pretrained(path, **kwargs)
    for key in config.to_dict() if dropout is not None else ():
        if key.endswith(("dropout", "pdrop")) and isinstance(getattr(config, key), (int, float)):
            setattr(config, key, dropout)
    return config


def load(
    auto_class: Any,
    path: str,
    what: str = "--model_name_or_path",
    dtype: torch.dtype = torch.float32,
    dropout: float | None = None,
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
    **kwargs,
) -> Any:
    """auto_class.from_pretrained with one-line errors.

    dropout as in `load_config`; kwargs: num_labels, and what from_pretrained takes.
    """
    check_folder(path, what)
    try:
        labels = {"num_labels": kwargs.pop("num_labels")} if "num_labels" in kwargs else {}
        config = load_config(path, dropout, trust_remote_code=trust_remote_code, **labels)
        # None: sdpa where transformers has it for the architecture; Gemma 2 has eager attention only.
        attention = None if attn_implementation == "sdpa" else attn_implementation
        same = {"config": config, "dtype": dtype, "trust_remote_code": trust_remote_code}
        loaded = auto_class.from_pretrained(path, attn_implementation=attention, **same, **kwargs)
    except torch.OutOfMemoryError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{what} {path}: the model could not be loaded: {first_line(error)}") from error
    used = config._attn_implementation
    if used not in (None, attn_implementation):
        print(f"{what} {path}: no {attn_implementation} attention for {config.model_type}; {used} is used", flush=True)
    return loaded


def load_causal_lm(
    path: str, tokenizer: PreTrainedTokenizerBase, what: str = "--model_name_or_path", merge_lora: bool = True, **kwargs
) -> Any:
    """A causal language model; raises InputError if weights are missing, or if the tokenizer has ids that it has no
    row for.

    merge_lora: what a LoRA folder gives: its base with the adapter merged in, in fp32 before the cast to `dtype`, as
    a finished training writes it; or a PeftModel. kwargs: as of `load`.
    """
    base = lora_base(path, what)
    how: dict[str, Any] = {**kwargs, **({"dtype": torch.float32} if base and merge_lora else {})}
    model, info = load(AutoModelForCausalLM, base or path, what, output_loading_info=True, **how)
    if info["missing_keys"]:
        raise InputError(
            f"{what} {path}: not a language model (a reward model?): {sorted(info['missing_keys'])[0]} "
            "is missing in this checkpoint"
        )
    rows = model.get_input_embeddings().weight.size(0)
    if rows and len(tokenizer) > rows:
        raise InputError(
            f"{what} {path}: the tokenizer has {len(tokenizer)} tokens, the model rows for {rows}; "
            "use the tokenizer it was trained with"
        )
    if base is None:
        return model
    model = _with_lora(model, path, what)
    return _cast(model.merge_and_unload(), kwargs.get("dtype", torch.float32)) if merge_lora else model


def _with_lora(base, path, what):
    """`base` with the adapter of a LoRA folder, as a PeftModel."""
    from peft import PeftModel  # more than a second, and most models have no adapter

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")  # peft would go on without them
            # peft asks for it still
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            return PeftModel.from_pretrained(base, Path(path).expanduser())
    except (*UNREADABLE, UserWarning) as error:
        raise InputError(
            f"{what} {path}: the adapter could not be laid over {base.name_or_path}: {first_line(error)}"
        ) from error


def _cast(model, dtype):
    """The weights in another precision.

    Buffers stay: rotary frequencies are fp32 in a model that is loaded, whatever its dtype.
    """
    for p in model.parameters():
        p.data = p.data.to(dtype)
    model.config.dtype = dtype
    return model


def head_logits(lm: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits (M, V) in fp32 of hidden states (M, D), with the scaling and soft-capping that some architectures add."""
    logits = lm.get_output_embeddings()(hidden).float()
    config = lm.config.get_text_config()
    if getattr(config, "logit_scale", None):  # Cohere
        logits = logits * config.logit_scale
    if getattr(config, "logits_scaling", None):  # Granite
        logits = logits / config.logits_scaling
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2
        logits = cap * torch.tanh(logits / cap)
    return logits


class TokenLogps(nn.Module):
    """A causal LM that returns log-probabilities of chosen tokens of packed sequences.

    The vocabulary-sized logits are made only where a token is wanted: prompt and padding positions cost none.
    """

    def __init__(self, lm: nn.Module, packing: str = "auto"):
        """packing: as of packed.hidden_states."""
        super().__init__()
        self.lm: Any = lm
        self.packing = packing

    def forward(self, packed, logits_at, targets, with_entropy=False):
        """logits_at, targets (M,): as of packing.targets.

        Returns log-probabilities (M,) in nats, fp32; with_entropy: also the entropy (M,) of each distribution.
        """
        lm = without_adapter(self.lm)
        logits = head_logits(lm, hidden_states(lm, packed, self.packing)[logits_at])
        if not with_entropy:
            return -F.cross_entropy(logits, targets, reduction="none")
        all_logps = logits.log_softmax(-1)
        return all_logps.gather(-1, targets.unsqueeze(-1)).squeeze(-1), -(all_logps.exp() * all_logps).sum(-1)

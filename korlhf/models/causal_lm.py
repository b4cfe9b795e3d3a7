"""Causal language models: loading, and log-probabilities of packed tokens.

A LoRA folder (adapter_config.json, no config.json) loads like the model that it makes of its base.

Left out on purpose: LoRA of our own (peft), weight formats other than safetensors, vocabulary resizing (a saved model
keeps its rows).
"""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerBase

from korlhf.core.errors import InputError
from korlhf.models.checks import check_causal, check_rows
from korlhf.models.finite import check_finite
from korlhf.models.folders import check_folder, check_weights, first_line, lora_base
from korlhf.models.lora import untie, without_adapter, without_tie_warning
from korlhf.models.packed import hidden_states
from korlhf.models.quantize import four_bits, keep_scales
from korlhf.models.quiet import quiet

# Logits alive at once: 256 MB in fp32. 8,000 tokens of a vocabulary of 8,000 are one chunk, 256 of one of 262,000.
CHUNK_LOGITS = 2**26
# RuntimeError: weights of another shape
UNREADABLE = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)


def load_config(path: str, dropout: float | None = None, **kwargs) -> PreTrainedConfig:
    """AutoConfig.from_pretrained; dropout: a probability for every dropout of the model, None = as it is."""
    config = AutoConfig.from_pretrained(path, **kwargs)
    for key in config.to_dict() if dropout is not None else ():
        if key.endswith(("dropout", "pdrop")) and isinstance(getattr(config, key), (int, float)):
            setattr(config, key, dropout)
    return config


def config_of(path: str, what: str, trust_remote_code: bool = False) -> PreTrainedConfig:
    """The configuration of a model, or of a LoRA folder's base; raises InputError if it has none that can be read."""
    try:
        return load_config(lora_base(path, what) or path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{what} {path}: no model can be loaded ({first_line(error)}); give the folder of a finished model"
        ) from error


def load(
    auto_class: Any,
    path: str,
    what: str = "--model_name_or_path",
    dtype: torch.dtype = torch.float32,
    dropout: float | None = None,
    attn_implementation: str = "sdpa",
    **kwargs,
) -> Any:
    """auto_class.from_pretrained with one-line errors; weights that are not finite are an InputError.

    dropout as in `load_config`; kwargs: num_labels, load_in_4bit (QLoRA's nf4, computing in `dtype`), and what
    from_pretrained takes.
    """
    quiet()
    check_folder(path, what)
    check_weights(path, what)
    trust_remote_code = kwargs.pop("trust_remote_code", False)
    if kwargs.pop("load_in_4bit", False):
        kwargs["quantization_config"] = four_bits(dtype)
    try:
        labels = {"num_labels": kwargs.pop("num_labels")} if "num_labels" in kwargs else {}
        config = load_config(path, dropout, trust_remote_code=trust_remote_code, **labels)
        check_causal(config, f"{what} {path}")
        # None: sdpa where transformers has it for the architecture; Gemma 2 has eager attention only.
        attention = None if attn_implementation == "sdpa" else attn_implementation
        same = {"config": config, "dtype": dtype, "trust_remote_code": trust_remote_code}
        loaded = auto_class.from_pretrained(path, attn_implementation=attention, use_safetensors=True, **same, **kwargs)
    except torch.OutOfMemoryError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{what} {path}: the model could not be loaded: {first_line(error)}") from error
    model, info = loaded if isinstance(loaded, tuple) else (loaded, {})
    if "quantization_config" in kwargs:
        keep_scales(model)
    check_finite(model, what, path, info.get("missing_keys", ()))
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
    with whole_weights() if base else contextlib.nullcontext():
        model, info = load(AutoModelForCausalLM, base or path, what, output_loading_info=True, **how)
    if info["missing_keys"]:
        raise InputError(
            f"{what} {path}: not a language model (a reward model?): {sorted(info['missing_keys'])[0]} "
            "is missing in this checkpoint; give a folder of step 1 or 3, or a base model"
        )
    check_rows(model, tokenizer, f"{what} {path}")
    if base is None:
        return model
    model = _with_lora(model, path, what)
    if not merge_lora:
        return model
    merged = _cast(model.merge_and_unload(), kwargs.get("dtype", torch.float32))
    check_finite(merged, what, path)  # the cast may have made infinity of what fp16 cannot hold
    return merged


@contextlib.contextmanager
def whole_weights():
    """Inside, models are loaded whole by every process also where ZeRO-3 would spread them while they are read: for
    checkpoints that are changed before they are a model.
    """
    from transformers.integrations import deepspeed as hf_deepspeed

    spread = hf_deepspeed._hf_deepspeed_config_weak_ref
    hf_deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        hf_deepspeed._hf_deepspeed_config_weak_ref = spread


def _with_lora(base, path, what):
    """`base` with the adapter of a LoRA folder, as a PeftModel."""
    from peft import PeftModel  # more than a second, and most models have no adapter

    check_weights(path, what)
    try:
        with without_tie_warning():
            warnings.filterwarnings("error", message="Found missing adapter keys")  # peft would go on without them
            # peft asks for it still
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            adapted = PeftModel.from_pretrained(base, Path(path).expanduser())
    except (*UNREADABLE, UserWarning) as error:
        raise InputError(
            f"{what} {path}: the adapter could not be laid over {base.name_or_path}: {first_line(error)}"
        ) from error
    check_finite(adapted, what, path, skip={n for n, p in adapted.named_parameters() if "base_layer" in n})
    untie(adapted)
    return adapted


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
    return _scaled(lm, lm.get_output_embeddings()(hidden))


def _scaled(lm, logits):
    config, logits = lm.config.get_text_config(), logits.float()
    if getattr(config, "logit_scale", None):  # Cohere
        logits = logits * config.logit_scale
    if getattr(config, "logits_scaling", None):  # Granite
        logits = logits / config.logits_scaling
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2
        logits = cap * torch.tanh(logits / cap)
    return logits


def token_logps(
    lm: Any, hidden: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0, with_entropy: bool = False
) -> Any:
    """Log-probabilities (M,) in nats, fp32, of `targets` (M,) from hidden states (M, D), at a sampling temperature.

    with_entropy: also the entropy (M,) of each distribution, without a gradient. No more than CHUNK_LOGITS logits are
    alive at once: those of each chunk of tokens are dropped, and made again in the backward pass. The chunks run
    inside one call of the head, so that ZeRO-3 gathers its weights once per pass, however many chunks a process has.
    """
    head = lm.get_output_embeddings()
    chunks = max(1, -(-len(targets) * lm.config.get_text_config().vocab_size // CHUNK_LOGITS))
    layer = head if chunks == 1 else head.forward

    def chunk(hidden, targets):
        logits = _scaled(lm, layer(hidden))
        all_logps = (logits if temperature == 1 else logits / temperature).log_softmax(-1)
        del logits
        logps = all_logps.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        if not with_entropy:
            return (logps,)
        all_logps = all_logps.detach()
        return logps, -all_logps.exp().mul_(all_logps).sum(-1)

    def chunked(hidden):
        pairs = zip(hidden.tensor_split(chunks), targets.tensor_split(chunks))
        return tuple(map(torch.cat, zip(*(checkpoint(chunk, h, t, use_reentrant=False) for h, t in pairs))))

    if chunks == 1:
        out = chunk(hidden, targets)
    else:
        with _replaced_forward(head, chunked):
            out = head(hidden)
    return out if with_entropy else out[0]


@contextlib.contextmanager
def _replaced_forward(module, forward):
    """`forward` in the place of the module's own; the hooks around it stay."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


class TokenLogps(nn.Module):
    """A causal LM that returns log-probabilities of chosen tokens of packed sequences.

    The vocabulary-sized logits are made only where a token is wanted: prompt and padding positions cost none.
    """

    def __init__(self, lm: nn.Module, packing: str = "auto"):
        """packing: as of packed.hidden_states."""
        super().__init__()
        self.lm: Any = lm
        self.packing = packing

    def forward(self, packed, logits_at, targets, with_entropy=False, temperature=1.0):
        """logits_at, targets (M,): as of packing.targets; the rest, and what is returned: as of `token_logps`."""
        lm = without_adapter(self.lm)
        hidden = hidden_states(lm, packed, self.packing)[logits_at]
        return token_logps(lm, hidden, targets, temperature, with_entropy)

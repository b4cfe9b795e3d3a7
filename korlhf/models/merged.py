"""LoRA merged into its base: for saving, with the proof that what is saved computes what was trained, and of the live
weights, for an engine that samples.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from korlhf.core.errors import InputError
from korlhf.data.packing import pack
from korlhf.models.causal_lm import TokenLogps, load
from korlhf.models.checks import embedding_rows
from korlhf.models.lora import untie, without_adapter, without_tie_warning
from korlhf.models.reward_model import TokenValues

PROBE = 4, 16  # sequences of random tokens, and tokens in each
# Allowed mean difference, of log-probabilities in nats or of scores, as a share of 1 + their mean size: several times
# what rounding of merged weights gives.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@torch.no_grad()
def probe(module: TokenLogps | TokenValues, run: Callable | None = None, device: Any = "cpu") -> torch.Tensor:
    """What `module` says of a few rows of random tokens, on the CPU: log-probabilities of each next token, or values.

    run: calls it (an Engine), None: itself. The same rows for all models of equally many tokens.
    """
    logps = isinstance(module, TokenLogps)
    model = without_adapter(module.lm if logps else module.model)
    generator = torch.Generator().manual_seed(0)
    packed = pack(torch.randint(embedding_rows(model), PROBE, generator=generator).tolist()).to(device)
    at = torch.arange(len(packed.ids), device=packed.ids.device)
    out = (run or module)(packed, at, packed.ids.roll(-1)) if logps else (run or module)(packed)
    return out.float().cpu()


def merge(
    module: Any,
    state_dict: dict[str, torch.Tensor],
    adapter: Path,
    base_path: str,
    dtype: torch.dtype | None = None,
    live: torch.Tensor | None = None,
) -> Any:
    """A fresh fp32 copy of the base with the saved adapter merged into it, rounded to `dtype`.

    module: the PeftModel in training, state_dict: its whole weights; live: its `probe`, None: that of the adapter laid
    over the fresh base. Raises InputError if the merged model computes something else.
    """
    from peft import PeftModel

    with without_tie_warning():
        adapted = PeftModel.from_pretrained(_base(module, state_dict, base_path), adapter)
    untie(adapted)
    wrapper = TokenValues if hasattr(without_adapter(module), "score") else TokenLogps
    adapted.eval()
    expected = probe(wrapper(adapted)) if live is None else live
    merged = adapted.merge_and_unload()
    if dtype is not None:
        for p in merged.parameters():
            p.data = p.data.to(dtype).float()
    difference = float((probe(wrapper(merged)) - expected).abs().mean())
    allowed = TOLERANCE[dtype or torch.float32] * (1 + float(expected.abs().mean()))
    if not difference <= allowed:
        what = "scores" if wrapper is TokenValues else "log-probabilities"
        raise InputError(
            f"{adapter.parent}: the merged model is not the one that was trained: its {what} differ by "
            f"{difference:.3g} on average, {allowed:.2g} is rounding; it is not saved. The adapter is whole: load "
            f"{adapter}, or train with other --lora_module_name"
        )
    return merged


def _base(module, state_dict, base_path):
    """The model that `module` was before it got LoRA."""
    trained = module.get_base_model()
    from_code = type(trained).__module__.startswith("transformers_modules")  # loaded with --trust_remote_code
    labels: dict[str, Any] = {"num_labels": 1} if hasattr(trained, "score") else {}
    base = load(type(trained), base_path, trust_remote_code=from_code, **labels)
    embedding = trained.get_input_embeddings().weight
    rows = state_dict[next(n for n, p in module.named_parameters() if p is embedding)].size(0)  # empty live in ZeRO-3
    if base.get_input_embeddings().weight.size(0) != rows:
        base.resize_token_embeddings(rows)
    base.config.pad_token_id = trained.config.pad_token_id
    return base


def merged_weights(module: Any, state_dict: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights of the language model that a PeftModel computes, by that model's own names, rounded to `dtype`.

    state_dict: the whole weights of `module`, on the CPU. Added up by hand in fp32: peft merges layers in place alone,
    in the precision of the training, and ZeRO-3 spreads those over processes.
    """
    out = dict(state_dict)
    for name, layer in module.named_modules():
        if hasattr(layer, "base_layer"):
            weight = f"{name}.base_layer.weight"
            out[weight] = _with_adapter(state_dict[weight], layer, f"{name}.", state_dict)
    return {name: w.to(dtype) for name, w in base_weights(out).items()}


def base_weights(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of the weights of a PeftModel those of the model that got its adapter, by that model's own names."""
    names = {name: name.removeprefix("base_model.model.").replace(".base_layer.", ".") for name in state_dict}
    return {names[name]: w for name, w in state_dict.items() if "lora_" not in name}


def _with_adapter(weight, layer, prefix, state_dict):
    """A base weight with its LoRA (arXiv 2106.09685, section 4.1) or DoRA (2402.09353, equation 5) in fp32."""
    own = {k.removeprefix(prefix): v.float() for k, v in state_dict.items() if k.startswith(f"{prefix}lora_")}
    (scaling,) = layer.scaling.values()
    if "lora_embedding_A.default" in own:
        change = (own["lora_embedding_B.default"] @ own["lora_embedding_A.default"]).T
    else:
        change = own["lora_B.default.weight"] @ own["lora_A.default.weight"]
    turned = getattr(layer, "fan_in_fan_out", False)  # GPT-2's weights are (in, out)
    whole = (weight.float().T if turned else weight.float()) + scaling * change
    if (length := own.get("lora_magnitude_vector.default.weight")) is not None:
        whole = whole * (length.flatten() / whole.norm(dim=1)).unsqueeze(1)
    return whole.T.contiguous() if turned else whole

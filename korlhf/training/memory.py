"""Memory of a training on each GPU, before anything is loaded.

What the weights, gradients and the optimizer take follows from counts and from how DeepSpeed 0.19 spreads them. What a
pass takes is found by running it on the meta device: torch hands out every tensor of it with no memory behind, and
`Watch` adds up what is alive. Left out: the CUDA context and what the allocator cannot use, for which FILL leaves
room; memory of the host.
"""

import contextlib
import functools
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
from transformers import AutoModelForSequenceClassification as AutoReward

from korlhf.core.errors import InputError
from korlhf.data.packing import Packed
from korlhf.models.causal_lm import UNREADABLE, TokenLogps, load_config
from korlhf.models.folders import first_line, lora_base
from korlhf.models.lora import add_lora, without_adapter
from korlhf.models.reward_model import TokenValues
from korlhf.training.flags import ModelFlags

ELEMENT = {"bf16": 2, "fp16": 2, "fp32": 4}
DTYPE = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# elements of DeepSpeed's gradient bucket (reduce_bucket_size), made whole however few weights are trained
BUCKET = 500_000_000
LIVE = 1_000_000_000  # parameters that ZeRO-3 may hold gathered (stage3_max_live_parameters)
NF4 = 0.5 + 0.127 / 8  # bytes of a weight in 4 bits and its share of the scales (QLoRA, section 3)
FILL = 0.9  # share of a GPU that may be planned
ATTENTION = "counted"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How the states of one model lie: ZeRO stage, processes (one per GPU), offload to the host, precision."""

    zero_stage: int = 0
    gpus: int = 1
    offload: bool = False
    dtype: str = "bf16"

    @property
    def element(self) -> int:
        return ELEMENT[self.dtype]


def weights(whole: float, params: int, spread: Spread) -> float:
    """Bytes of weights that take `whole` bytes; ZeRO-3 spreads them, and with offload keeps them on the host."""
    if spread.zero_stage == 3:
        return min(params, LIVE) * spread.element + (0 if spread.offload else whole / spread.gpus)
    return whole


def optimizer(trained: int, spread: Spread) -> float:
    """Bytes of fp32 master weights and Adam's two moments; spread from stage 1 on, on the host with offload."""
    if spread.offload and spread.zero_stage:
        return 0
    return trained * (_master(spread) + 8) / (spread.gpus if spread.zero_stage else 1)


def gradients(trained: int, spread: Spread) -> float:
    """Bytes of the gradients between two passes; spread from stage 2 on, on the host with offload."""
    if spread.offload and spread.zero_stage >= 2:
        return 0
    return trained * spread.element / (spread.gpus if spread.zero_stage >= 2 else 1)


def step_copy(trained: int, spread: Spread) -> float:
    """Bytes of the fp32 gradient that exists only while master weights are updated."""
    if spread.offload and spread.zero_stage:
        return 0
    return trained * _master(spread) / (spread.gpus if spread.zero_stage else 1)


def bucket(spread: Spread) -> float:
    return BUCKET * spread.element if spread.zero_stage else 0


def _master(spread):
    return 0 if spread.dtype == "fp32" and spread.zero_stage == 0 else 4


class Watch(TorchDispatchMode):
    """Bytes of what the tensors made inside take: now and at most. known: a module whose own do not count."""

    def __init__(self, known: nn.Module):
        super().__init__()
        self.now = self.most = 0
        self.alive = {t.untyped_storage()._cdata for t in known.state_dict(keep_vars=True).values()}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._made, out)
        return out

    def _made(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.alive:
            self.alive.add(storage._cdata)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, storage, size):
        self.alive.discard(storage)
        self.now -= size


class _Attend(torch.autograd.Function):
    """What a kernel like FlashAttention keeps: queries, keys, values and its output."""

    @staticmethod
    def forward(ctx, query, key, value):
        out = query.new_empty(*query.shape[:-1], value.size(-1))
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx, *grads):
        return tuple(torch.empty_like(states) for states in ctx.saved_tensors[:3])


def _attention(module, query, key, value, attention_mask, **kwargs):
    out: Any = _Attend.apply(query, key, value)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)


class Counted:
    """A model of which only the shape is there, and what it takes."""

    def __init__(self, path: str, flags: ModelFlags | None, dtype: str, reward: bool = False, trust: bool = False):
        """flags: of the model in training, None: it is only run. Reads the config alone."""
        load: Any = AutoReward if reward else AutoModelForCausalLM
        labels = {"num_labels": 1} if reward else {}
        try:
            config = load_config(lora_base(path) or path, trust_remote_code=trust, **labels)
        except UNREADABLE as error:
            raise InputError(f"{path}: the model could not be loaded: {first_line(error)}") from error
        how = {"dtype": DTYPE[dtype], "trust_remote_code": trust}
        with torch.device("meta"):
            try:
                model = load.from_config(config, attn_implementation=ATTENTION, **how)
                model.packs = True
            except ValueError:  # an architecture with attention of its own
                model = load.from_config(config, **how)
                model.packs = False
            self.params = sum(p.numel() for p in model.parameters())
            quantised = _quantised(model) if flags and flags.load_in_4bit else []
            if flags and flags.gradient_checkpointing:
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            task = "SEQ_CLS" if reward else "CAUSAL_LM"
            module: Any = add_lora(model, flags, task).to(DTYPE[dtype]) if flags else model.requires_grad_(False)
        self.module = (TokenValues if reward else TokenLogps)(module).train()
        parameters = list(self.module.parameters())
        self.trained = sum(p.numel() for p in parameters if p.requires_grad)
        whole, small = sum(p.numel() for p in parameters), sum(quantised)
        self.whole = (whole - small) * ELEMENT[dtype] + small * NF4  # bytes
        self.dequantised = max(quantised, default=0) * ELEMENT[dtype]  # of one layer, while it computes
        self.reward, self.config = reward, config.get_text_config()
        self.cache = _cache(self.config) * ELEMENT[dtype]  # bytes of keys and values of one token

    @functools.cache  # noqa: B019 a handful of models, kept anyway
    def run(self, tokens: int, logits: int = 0, train: bool = True, keep_grads: bool = True) -> tuple[float, float]:
        """Bytes of a pass over `tokens`, of which `logits` get a row of the vocabulary: (activations that are kept for
        the backward pass, the most there are at once besides: logits, gradients in flight).

        keep_grads: whether gradients of weights count where they arise.
        """
        hooks: list[Any] = []
        if train and not keep_grads:
            trained = (p for p in self.module.parameters() if p.requires_grad)
            hooks = [p.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None)) for p in trained]
        with torch.device("meta"):
            ids = torch.zeros(tokens, dtype=torch.long)
        packed = Packed(ids, ids, ids[-1:], [0, tokens], [-1])
        more = () if self.reward else (ids[: logits or tokens], ids[: logits or tokens])
        kept = []
        watch = Watch(self.module)
        trunk = without_adapter(self.module.model if self.reward else self.module.lm).base_model
        hooks.append(trunk.register_forward_hook(lambda *_: kept.append(watch.now)))
        with watch, contextlib.nullcontext() if train else torch.no_grad():
            out = self.module(packed, *more)
            if train:
                out.sum().backward()
        for hook in hooks:
            hook.remove()
        self.module.zero_grad()
        return kept[0], watch.most - kept[0] + self.dequantised


def _quantised(model) -> list[int]:
    """Weights of each layer that bitsandbytes keeps in 4 bits: all linear ones but the head."""
    head = model.get_output_embeddings() or getattr(model, "score", None)
    return [m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear) and m is not head]


def _cache(config) -> int:
    """Numbers that one token leaves in the cache of all layers."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * size


Phases = dict[str, dict[str, float]]  # phase -> what -> bytes


def update(model: Counted, spread: Spread, tokens: int, logits: int, several: bool) -> Phases:
    """The phases of one model's update; several: forward passes per optimizer step."""
    kept, besides = model.run(tokens, logits, keep_grads=not several and spread.zero_stage < 2)
    rest = {
        "parameters": weights(model.whole, model.params, spread),
        "optimizer": optimizer(model.trained, spread),
    }
    grads = gradients(model.trained, spread)
    work = {"activations": kept, "logits and gradients in flight": besides, "gradient bucket": bucket(spread)}
    return {
        "training": rest | {"gradients": grads if several else 0} | work,
        "optimizer step": rest | {"gradients": grads, "fp32 gradients": step_copy(model.trained, spread)},
    }

"""Layouts of rows: what the steps do (packed), and rows of one sequence each, as most padded programs have them.

packed: as the steps do it, a prompt that answers share once. longest: one sequence per row, padded to the batch's
longest. limit: one sequence per row, padded to the limit, as DeepSpeed-Chat does. The padded layouts pad on the right
with an attention mask, compute a prompt for each of its answers and differ in nothing else: losses and logits are made
at the same tokens. What they mean for sampling in step 3: transformers' `generate`. longest: prompts padded to the
batch's longest, until the last answer has stopped; limit: prompts padded to the prompt limit, answers of the full
limit. Both then use the answers of the layout packed.
"""

import contextlib
from dataclasses import dataclass, field
from typing import Any

import torch

from korlhf.data.packing import Packed
from korlhf.models import causal_lm, reward_model
from korlhf.models.lora import without_adapter
from korlhf.rl import step as ppo_step
from korlhf.rl.sampler import Sampled
from korlhf.training.ppo_flags import PpoFlags

LAYOUTS = ("packed", "longest", "limit")
FORMULA = (
    "model FLOP = 2 x tokens x matrix parameters (embedding look-up left out; output head only where logits are made) "
    "+ 2 x layers x hidden size x tokens^2 per sequence (causal attention); backward pass twice the forward, with LoRA "
    "once; real tokens only, those of a prompt that answers share once"
)


class Flops:
    """Floating-point operations of a causal decoder on real tokens (see FORMULA)."""

    def __init__(self, model: Any):
        """model: a transformers language or sequence-classification model, its weights whole."""
        look_up, head = model.get_input_embeddings().weight, model.get_output_embeddings()
        config = model.config.get_text_config()
        self.head = head.weight.numel() if head is not None else 0
        left_out = {id(look_up)} | ({id(head.weight)} if head is not None else set())
        self.body = sum(p.numel() for p in model.parameters() if p.ndim > 1 and id(p) not in left_out)
        self.attention = 2 * config.num_hidden_layers * config.hidden_size

    def trunk(self, lengths: torch.Tensor, before: torch.Tensor | int = 0) -> float:
        """Operations of one forward pass over parts of `lengths` tokens, without the output head.

        before: tokens of each part's prompt, which is a part of its own.
        """
        n = lengths.double()
        return float(2 * self.body * n.sum() + self.attention * ((before + n) ** 2 - before**2).sum())

    def logits(self, predicted: int) -> float:
        """Operations of the output head at `predicted` tokens."""
        return 2.0 * self.head * predicted


@dataclass
class Fed:
    """What went through trunks. real, computed: tokens; flops: of a forward pass over the real ones; passes: tokens of
    language models alone.
    """

    real: int = 0
    computed: int = 0
    flops: float = 0.0
    passes: int = 0


@dataclass
class Layout:
    """While entered, packed sequences go through the models as `kind` says, and are counted: `fed`, by whether a
    backward pass follows.

    limit: tokens of a row of the layout `limit`; lm, scorer: Flops of the two kinds of models.
    """

    kind: str
    limit: int
    lm: Flops
    scorer: Flops
    answers: dict[tuple[int, ...], list[int]] = field(default_factory=dict)  # prompt ids -> what packed sampled

    def __enter__(self) -> "Layout":
        self.fed, self.sampled = {True: Fed(), False: Fed()}, 0
        self.own = causal_lm.hidden_states, ppo_step.sample
        self._put(self.forward, self.sample)
        return self

    def __exit__(self, *_) -> None:
        self._put(*self.own)

    @staticmethod
    def _put(hidden_states, sample):
        causal_lm.hidden_states = reward_model.hidden_states = hidden_states
        ppo_step.sample = sample

    def forward(self, model: Any, packed: Packed, *how: Any) -> torch.Tensor:
        """In the place of korlhf.models.packed.hidden_states."""
        is_lm = model.get_output_embeddings() is not None
        fed = self.fed[torch.is_grad_enabled()]
        whole, at = (packed, None) if self.kind == "packed" else packed.apart()
        fed.real += len(whole.ids)
        lengths = torch.tensor(whole.bounds).diff()
        before = torch.tensor([int(lengths[p]) if p >= 0 else 0 for p in whole.prompts])
        fed.flops += (self.lm if is_lm else self.scorer).trunk(lengths, before)
        fed.passes += len(whole.ids) * is_lm
        with _inputs(model.base_model) as computed:
            if self.kind == "packed":
                hidden = self.own[0](model, packed, *how)
            else:
                longest = int(lengths.max())  # an answer written out for the reward model may be over the limit
                width = max(self.limit if self.kind == "limit" else 0, longest)
                hidden = padded_hidden_states(model, whole, width)[at]
        fed.computed += sum(computed)
        return hidden

    def sample(self, models: Any, prompts: Any, seeds: list[int], flags: PpoFlags) -> Any:
        """In the place of korlhf.rl.step.sample."""
        lm = models.actor.module.lm
        with _inputs(without_adapter(lm).base_model) as computed:
            if self.kind == "packed":
                sampled = self.own[1](models, prompts, seeds, flags)
                self.answers.update({tuple(p.ids): a for p, a in zip(prompts, sampled.answers)})
            else:
                sampled = Sampled([self.answers[tuple(p.ids)] for p in prompts])
                self._generate(lm, models, [p.ids for p in prompts], sampled.answers, flags)
        self.sampled += sum(computed)
        return sampled

    def _generate(self, lm, models, prompts, answers, flags):
        """The work of a padded program that samples `answers`."""
        size, to_limit = flags.per_device_generation_batch_size, self.kind == "limit"
        for at in range(0, len(prompts), size):
            longest = max(map(len, answers[at : at + size]))
            steps = flags.max_answer_seq_len if to_limit else longest
            with models.actor.gathered_weights():
                generate(lm, prompts[at : at + size], steps, to_limit, flags, models.world.device)


def padded_hidden_states(model: Any, packed: Packed, width: int) -> torch.Tensor:
    """korlhf.models.packed.hidden_states of sequences that share nothing, as rows of `width` tokens, padded on the
    right.
    """
    lengths = torch.tensor(packed.bounds, device=packed.ids.device).diff()
    mask = torch.arange(width, device=packed.ids.device) < lengths.unsqueeze(1)  # (S, W)
    ids = torch.zeros(mask.shape, dtype=torch.long, device=mask.device)
    ids[mask] = packed.ids
    return model.base_model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state[mask]


@torch.no_grad()
def generate(lm: Any, prompts: list[list[int]], steps: int, to_limit: bool, flags: PpoFlags, device: torch.device):
    """transformers' sampling of `steps` tokens; prompts are padded on the left, to their limit or to the longest."""
    width = max(flags.max_prompt_seq_len if to_limit else 0, *map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    how = {"do_sample": True, "temperature": flags.temperature, "top_p": flags.top_p, "top_k": 0}
    lm.generate(input_ids=ids, attention_mask=mask, min_new_tokens=steps, max_new_tokens=steps, **how)


@contextlib.contextmanager
def _inputs(trunk):
    """Yields a list that gets the number of token ids of each call of `trunk`."""
    computed = []

    def count(_module, args, kwargs):
        ids = kwargs.get("input_ids", args[0] if args else None)
        computed.append(0 if ids is None else ids.numel())

    hook = trunk.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield computed
    finally:
        hook.remove()

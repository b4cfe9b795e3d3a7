"""A model that learnt from preferences as a reward model: the implicit reward of an answer, beta times its score
(preference_losses.answer_scores).

The model's folder says in preference.json how it was trained. Where the score is a log-ratio, the reference is loaded
next to it.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from korlhf.core.errors import InputError
from korlhf.data.tokenize import Tokens
from korlhf.models.causal_lm import TokenLogps, load_causal_lm
from korlhf.models.checks import check_rows
from korlhf.models.fingerprint import fingerprint
from korlhf.models.folders import read_json
from korlhf.models.reward_model import TokenValues, load_reward_model
from korlhf.training import pairs
from korlhf.training.dpo_flags import REFERENCE, PreferenceFlags
from korlhf.training.engine import Frozen, loading
from korlhf.training.preference_losses import answer_scores
from korlhf.training.sft import sequence_logps
from korlhf.training.world import World

FILE = "preference.json"


def describe(settings: dict[str, Any]) -> dict[str, Any]:
    """What preference.json holds of a training; settings: of its settings.json."""
    names = [f.name for f in dataclasses.fields(PreferenceFlags)]
    flags = PreferenceFlags(**{name: settings[name] for name in names})
    if not flags.has_reference:
        return {"loss": flags.loss, "beta": flags.scale}
    path = settings["model_name_or_path"]
    folder = Path(path).expanduser()
    return {
        "loss": flags.loss,
        "beta": flags.scale,
        "reference": str(folder.resolve()) if folder.is_dir() else path,
        "reference_fingerprint": settings["inputs"]["model_name_or_path"],
    }


def is_implicit(path: str) -> bool:
    """Whether a folder holds a model that learnt from preferences."""
    return (Path(path).expanduser() / FILE).is_file()


class ImplicitReward(nn.Module):
    """A model and its reference, None if it has none."""

    def __init__(self, flags: PreferenceFlags, model: nn.Module, reference: nn.Module | None):
        super().__init__()
        self.flags, self.model, self.reference = flags, TokenLogps(model), reference and TokenLogps(reference)

    def forward(self, sequences: Sequence[Tokens], device: torch.device) -> torch.Tensor:
        """Implicit rewards (S,) of the final answers of `sequences`."""
        logps = sequence_logps(self.model, sequences, device)
        known = sequence_logps(self.reference, sequences, device) if self.reference else None
        lengths = torch.tensor([t.answer for t in sequences], device=device)
        return self.flags.scale * answer_scores(self.flags, logps, lengths, known)


def forward(reward: Any, sequences: Sequence[Tokens], device: torch.device) -> torch.Tensor:
    """`pairs.forward` of an ImplicitReward."""
    return reward(sequences, device)


def open_scorer(
    path: str, what: str, tokenizer: Any, world: World, dtype: str, trust_remote_code: bool = False
) -> tuple[Frozen, pairs.Forward]:
    """A reward model, or the implicit one of a model that learnt from preferences, and what gives its scores.

    what: the flag that names it. Raises InputError if it cannot be loaded, or if its reference is not there or another.
    """
    how = {"trust_remote_code": trust_remote_code}
    with loading(world, dtype) as placed:
        if not is_implicit(path):
            model = load_reward_model(path, what, **how, **placed)
            check_rows(model, tokenizer, f"{what} {path}")
            return Frozen(TokenValues(model), world, dtype), pairs.forward
        told = known(path, what)
        reference = told.get("reference")
        if reference:
            _check_reference(told, Path(path) / FILE)
            named = f"the reference of {what} {path},"
            reference = load_causal_lm(reference, tokenizer, named, **how, **placed)
        model = load_causal_lm(path, tokenizer, what, **how, **placed)
    flags = PreferenceFlags(loss=told["loss"], beta=told["beta"])
    return Frozen(ImplicitReward(flags, model, reference), world, dtype), forward


def known(path: str, what: str) -> dict[str, Any]:
    """preference.json of a folder. Raises InputError if it is damaged."""
    file = Path(path).expanduser() / FILE
    told = read_json(file, f"{what} {path}")
    loss, beta = told.get("loss"), told.get("beta")
    if loss not in (*REFERENCE, "simpo", "orpo") or not isinstance(beta, int | float):
        raise InputError(f"{file}: names no loss and beta of a training; copy the file from its source")
    if loss in REFERENCE and not isinstance(told.get("reference"), str):
        raise InputError(f"{file}: names no reference; copy the file from its source")
    return told


def _check_reference(told, file):
    path = told["reference"]
    if Path(path).is_absolute() and not Path(path).is_dir():
        raise InputError(f"{file}: the reference {path} is not there; write into the file where it is now")
    if fingerprint(path, whole=False) != told.get("reference_fingerprint"):
        raise InputError(f"{file}: the reference {path} is another model now; write into the file where it is")

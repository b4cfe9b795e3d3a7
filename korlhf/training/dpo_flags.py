"""The flags of preference optimisation."""

from dataclasses import dataclass

from korlhf.core.flags import Parser, flag
from korlhf.training.flags import margin_flag

REFERENCE = ("dpo", "ipo", "kto")  # losses that compare with the model before training


@dataclass(frozen=True, kw_only=True)
class PreferenceFlags:
    """preferences"""

    loss: str = flag(
        "dpo",
        "loss of ranked answers: dpo, ipo, simpo or orpo; kto: of answers that are good or bad each, as thumbs say "
        "(column label), or as the best and the worst of a ranking",
        choices=["dpo", "ipo", "simpo", "orpo", "kto"],
    )
    beta: float | None = flag(
        None,
        "scale of the implicit reward: the higher, the closer the model stays to the reference; orpo: weight of the "
        "odds ratio; not given = 2 for simpo, else 0.1",
        above=0,
    )
    label_smoothing: float = flag(
        0.0, "probability that a ranking is the wrong way round (conservative DPO); not for kto", low=0, below=0.5
    )
    sft_weight: float = flag(
        0.0, "weight of the better answer's negative log-likelihood per token; orpo has it with weight 1", low=0
    )
    simpo_gamma: float = flag(1.0, "simpo: by how much the better answer's reward is to be higher", low=0)
    desirable_weight: float = flag(1.0, "kto: weight of the good answers", low=0)
    undesirable_weight: float = flag(1.0, "kto: weight of the bad answers", low=0)
    margin_column: str = margin_flag()
    min_margin: float = flag(
        0.0, "train only on pairs with at least this margin; pairs without one, as people's, stay", low=0
    )
    drift_prompts: int = flag(
        64, "held-out prompts that the reference answers, once, to measure the drift from it; 0 = none", low=0
    )
    max_answer_seq_len: int = flag(128, "longest of those answers, and of the card's, in tokens", above=0)

    @property
    def scale(self) -> float:
        """--beta, or what stands for it."""
        return self.beta or (2.0 if self.loss == "simpo" else 0.1)

    @property
    def has_reference(self) -> bool:
        return self.loss in REFERENCE


def check_preferences(flags: PreferenceFlags, parser: Parser) -> None:
    """Refuse values that do not go together."""
    if flags.label_smoothing and flags.loss == "kto":
        parser.error(f"--label_smoothing {flags.label_smoothing:g}: kto has no pairs to smooth; delete it")
    if flags.sft_weight and flags.loss == "orpo":
        parser.error(f"--sft_weight {flags.sft_weight:g}: orpo has the likelihood already; delete it, or lower --beta")
    if flags.min_margin and not flags.margin_column:
        parser.error(f"--min_margin {flags.min_margin:g} needs --margin_column, the column that the margins are in")
    if flags.min_margin and flags.loss == "kto":
        parser.error(f"--min_margin {flags.min_margin:g}: kto has no pairs; delete it, or choose another --loss")

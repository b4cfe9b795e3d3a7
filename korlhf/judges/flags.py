"""Flags of judges."""

from argparse import ArgumentParser
from dataclasses import dataclass

from korlhf.core.flags import REQUIRED, flag


@dataclass(frozen=True, kw_only=True)
class ServerJudgeFlags:
    """judging"""

    judge_samples: int = flag(5, "forms sampled for an answer where a server gives no token probabilities", above=0)
    judge_temperature: float = flag(1.0, "temperature of those", low=0)
    structured: str = flag(
        "auto", "ask a server for JSON by a schema; auto = if it takes it", choices=["auto", "on", "off"]
    )

    def check(self, parser: ArgumentParser) -> None:
        """Refuse values that cannot work together; exits like argparse does."""
        if self.judge_temperature == 0 and self.judge_samples > 1:
            parser.error(
                f"--judge_samples {self.judge_samples}: at --judge_temperature 0 all are the same; give "
                "--judge_samples 1, or a higher temperature"
            )


@dataclass(frozen=True, kw_only=True)
class JudgingFlags(ServerJudgeFlags):
    """judging"""

    judge_batch_size: int = flag(16, "answers or questions in a forward pass of a local judge", above=0)
    judge_max_seq_len: int = flag(
        512, "reward model: longest prompt + answer in tokens; longer ones are not scored", above=0
    )


@dataclass(frozen=True, kw_only=True)
class JudgeFlags(JudgingFlags):
    """judge"""

    judge: str = flag(
        REQUIRED,
        "openai:MODEL[@BASE_URL], checkpoint:FOLDER (a language model on this machine), or reward_model:FOLDER",
    )

"""Flags that the programs of eval/ share."""

from dataclasses import dataclass

from korlhf.core.flags import REQUIRED, flag, seed_flag


@dataclass(frozen=True, kw_only=True)
class ResultFlags:
    """result of an evaluation"""

    output_dir: str = flag(
        REQUIRED,
        "folder for PROGRAM.json, PROGRAM.jsonl and the cache; several programs may share one",
        output="folder",
    )
    seed: int = seed_flag("seed of draws, answers and resampling")


@dataclass(frozen=True, kw_only=True)
class AnswerFlags:
    """prompts and answers"""

    data_path: list[str] = flag(
        REQUIRED, "prompts: dataset names as in training, or files; of one that has an evaluation split, that split"
    )
    max_prompts: int = flag(0, "at most this many prompts, drawn with the categories' shares kept; 0 = all", low=0)
    responder: list[str] = flag(
        REQUIRED,
        "who answers: [NAME=]FOLDER or hub name of a checkpoint, [NAME=]openai:MODEL[@BASE_URL], or "
        "[NAME=]FILE of answers that exist already; NAME stands in the tables",
    )
    num_answers: int = flag(1, "answers per prompt of each checkpoint or server", above=0)
    temperature: float = flag(0.7, "sampling temperature of the answers; 0 = greedy", low=0)
    top_p: float = flag(1.0, "nucleus sampling; 1 = off", above=0, high=1)
    max_new_tokens: int = flag(256, "longest answer in tokens", above=0)
    system: str = flag("", "system message, a text or a UTF-8 file; prompts with one of their own keep that")
    max_failed: float = flag(
        0.05,
        "a larger share of failed answers or verdicts ends with exit code 3, after everything is written",
        low=0,
        high=1,
    )

    def check(self, parser):
        if self.num_answers > 1 and self.temperature == 0:
            parser.error(
                f"--num_answers {self.num_answers}: greedy answers are all the same; set --temperature, e.g. 0.7"
            )


@dataclass(frozen=True, kw_only=True)
class RubricFlags:
    """comparison"""

    rubric: list[str] = flag(
        [],
        "rubrics of single categories in place of the ones of korlhf/judges/rubrics: CATEGORY=NAME of one of "
        "those, or CATEGORY=FILE.yaml",
    )

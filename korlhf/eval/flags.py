"""Flags that the programs of eval/ share."""

from dataclasses import dataclass

from korlhf.core.flags import REQUIRED, flag


@dataclass(frozen=True, kw_only=True)
class ResultFlags:
    """result of an evaluation"""

    output_dir: str = flag(
        REQUIRED, "folder for PROGRAM.json, PROGRAM.jsonl and the cache; several programs may share one"
    )
    seed: int = flag(1234, "seed of draws, answers and resampling")


@dataclass(frozen=True, kw_only=True)
class AnswerFlags:
    """prompts and answers"""

    data_path: list[str] = flag(
        REQUIRED, "prompts: dataset names as in training, or files; of one that has an evaluation split, that split"
    )
    max_prompts: int = flag(0, "at most this many prompts, drawn with the categories' shares kept; 0 = all")
    responder: list[str] = flag(
        REQUIRED,
        "who answers: [NAME=]FOLDER or hub name of a checkpoint, [NAME=]openai:MODEL[@BASE_URL], or "
        "[NAME=]FILE of answers that exist already; NAME stands in the tables",
    )
    num_answers: int = flag(1, "answers a prompt of each checkpoint or server")
    temperature: float = flag(0.7, "sampling temperature of the answers; 0 = greedy")
    top_p: float = flag(1.0, "nucleus sampling; 1 = off")
    max_new_tokens: int = flag(256, "longest answer in tokens")
    system: str = flag("", "system message, a text or a UTF-8 file; prompts with one of their own keep that")
    max_failed: float = flag(
        0.05, "a larger share of answers or verdicts that failed ends with exit code 3, after everything is written"
    )

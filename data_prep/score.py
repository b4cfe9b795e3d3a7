"""Records with answers -> the same records with a score next to every answer, of a judge that fills in a form or of a
reward model.

Scored are a record's `candidates`; of a record without any, its chosen, rejected and output become candidates. An
answer that could not be judged has the score null and its reason in OUTPUT.failed.jsonl; it is never scored by a guess.
Left out: choosing among the answers (rank.py), and several judges at once (a second one's scores replace the first's).
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from korlhf.core import program
from korlhf.core.flags import REQUIRED, flag, parse
from korlhf.data import stage
from korlhf.data_prep import score
from korlhf.llm.client import open_cache
from korlhf.llm.flags import CheckpointFlags, LlmFlags


@dataclass(frozen=True, kw_only=True)
class ScoreFlags:
    """judge"""

    judge: str = flag(
        REQUIRED,
        "openai:MODEL, a model of the server of --base_url that fills in a rubric's form; or "
        "reward_model:FOLDER (or hub name)",
    )
    rubric: list[str] = flag(
        [], "rubrics of single categories: CATEGORY=NAME of one in korlhf/judges/rubrics, or CATEGORY=FILE.yaml"
    )
    samples: int = flag(5, "forms sampled per answer, where the server gives no token probabilities", above=0)
    temperature: float = flag(1.0, "temperature of those; with token probabilities it is 0", low=0)
    together: bool = flag(False, "all answers to a prompt in one request, in both orders, and the mean of the two")
    structured: str = flag(
        "auto", "ask for JSON by a schema; auto = if the server takes it", choices=["auto", "on", "off"]
    )
    max_failed: float = flag(
        0.05, "if a larger share of the answers has no score, exit with code 3 after writing all", low=0, high=1
    )

    def check(self, parser):
        if self.temperature == 0 and self.samples > 1:
            parser.error(
                f"--samples {self.samples}: at --temperature 0 all are the same; give --samples 1, or a higher one"
            )
        if (self.together or self.rubric) and not self.judge.startswith("openai:"):
            parser.error(
                "--together and --rubric are for --judge openai:MODEL; a reward model reads single answers, no rubric"
            )


@dataclass(frozen=True, kw_only=True)
class RewardFlags(CheckpointFlags):
    """reward model"""

    max_seq_len: int = flag(512, "longest prompt + answer in tokens; longer ones are not scored", above=0)
    batch_size: int = flag(16, "answers in a forward pass", above=0)


def main(argv=None):
    groups = stage.StageFlags, ScoreFlags, RewardFlags, LlmFlags
    files, args, reward, llm = parse(argv, "Score answers with a judge or a reward model", *groups)
    kind, model = score.read_judge(args.judge)
    server = kind == "openai"
    found = score.read_records(files.input)
    settings = {**asdict(args), **({"base_url": llm.base_url} if server else asdict(reward))}
    with stage.Stage("score", files.output, settings, files.input) as out, open_cache(llm, out.path) as cache:
        if server:
            results = score.by_server(args, model, found, llm, cache, out)
        else:
            results = score.by_reward_model(model, found, reward, cache, out)
        score.write(found, results, model if server else Path(model).name, args.samples, out)
        out.extra["means"] = score.means(found, results)
    print(score.summary(out.extra["means"], out.extra.get("position")), flush=True)
    return program.exit_code(out.failures, sum(len(texts) for _, texts in found), args.max_failed)


if __name__ == "__main__":
    program.run(main, stage.RESUMES)

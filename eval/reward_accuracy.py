"""Accuracy of reward models on pairs, next to baselines: trivial rules and an n-gram classifier.

Accuracy by category with its intervals, calibration, what the scores owe to length, how far several models agree; and
whether a model beats the best trivial rule and a classifier of words and letters that were fitted to its training
pairs. Prompts that a model was trained on are in no figure. Left out: several GPUs, and figures that need more than an
order of answers (rubrics: geval.py).
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core import program
from korlhf.core.files import close_names
from korlhf.core.flags import REQUIRED, flag, parse
from korlhf.data import load
from korlhf.eval.flags import ResultFlags
from korlhf.eval.result import Result
from korlhf.eval.session import open_models
from korlhf.eval.texts import say
from korlhf.judges.reward import RewardJudge
from korlhf.llm.cache import Cache
from korlhf.llm.flags import CheckpointFlags
from korlhf.training.flags import margin_flag


@dataclass(frozen=True, kw_only=True)
class RewardAccuracyFlags:
    """reward models and pairs"""

    model_name_or_path: list[str] = flag(
        REQUIRED,
        "reward models: [NAME=]FOLDER of step 2 or of a DeepSpeed-Chat checkpoint, or a hub name; NAME stands in the "
        "tables",
    )
    data_path: list[str] = flag(
        [],
        "pairs, named as in training: registered names, files or folders with chosen + rejected or ranked answers; of "
        "a dataset that has an evaluation split, that split",
    )
    train_data_path: list[str] = flag(
        [],
        "pairs that the models were trained on: rules and classifier are fitted to them, and prompts that are there "
        "too are left out; not given = as settings.json in the models' folders says, else a random half of "
        "--data_path (compared on the other half)",
    )
    best_of_path: str = flag(
        "",
        "a file of prompts with one right answer among four, as RewardBench 2 has them; besides --data_path, or alone",
    )
    margin_column: str = margin_flag()
    max_pairs: int = flag(
        0, "about so many pairs at most: whole prompts are drawn, with the categories' shares kept; 0 = all", low=0
    )
    max_seq_len: int = flag(
        512, "longest prompt + answer in tokens; pairs with a longer one are left out and counted", above=0
    )
    batch_size: int = flag(16, "answers in a forward pass", above=0)

    def check(self, parser):
        if not self.data_path and not self.best_of_path:
            parser.error("the following arguments are required: --data_path")
        if self.best_of_path and not (path := Path(self.best_of_path).expanduser()).is_file():
            parser.error(f"--best_of_path {path}: no such file{close_names(path)}")


def main(argv=None):
    description = "Accuracy of reward models on pairs, next to trivial rules and an n-gram classifier"
    settings = parse(argv, description, ResultFlags, RewardAccuracyFlags, CheckpointFlags)
    files, args, checkpoint = settings
    load.check_names([*args.data_path, *args.train_data_path])
    limits = args.max_seq_len, args.batch_size
    models = open_models(
        args.model_name_or_path, lambda path: RewardJudge(path, "--model_name_or_path", checkpoint, *limits)
    )
    from korlhf.eval import best_of_four, reward_pairs

    how = args.data_path, args.max_pairs, files.seed, args.margin_column
    examples = reward_pairs.load_examples(*how) if args.data_path else None
    inputs = [judge.path for judge in models.values()]
    inputs += [p for p in (*args.data_path, *args.train_data_path, args.best_of_path) if p and Path(p).exists()]
    with (
        Result("reward_accuracy", files.output_dir, settings, inputs) as result,
        Cache(result.folder / "cache.sqlite") as cache,
    ):
        if examples is not None:
            _of_pairs(files, args, models, examples, (result, cache))
        if args.best_of_path:
            best_of_four.measure(result, args.best_of_path, models, cache)


def _of_pairs(files, args, models, examples, out):
    from korlhf.eval import reward_pairs
    from korlhf.eval import reward_report as report

    result, cache = out
    training = reward_pairs.training_data(args.train_data_path, models, result)
    scored, scores, left_out = reward_pairs.score(models, examples, cache, result)
    keep = reward_pairs.leave_out_seen(examples, training, scored, scores, result)
    kept, of_kept = scored[keep].reset_index(drop=True), {name: s[keep] for name, s in scores.items()}
    fit, compared, where = reward_pairs.to_fit(args.train_data_path, examples, training, kept, files.seed)
    report.note_protocol(result, args.data_path, models, kept)
    report.models(result, kept, of_kept)
    if fit is not None:
        of_compared = {name: s[compared] for name, s in of_kept.items()}
        left_out = reward_pairs.beside_compared(examples, training, left_out, compared, files.seed)
        report.baselines(result, (fit, where, left_out), kept[compared], of_compared)
    else:
        compared[:] = False
        result.warn(say("reward.no_baselines"))
    report.tables(result, kept, of_kept)
    result.rows = reward_pairs.rows(examples, scored, scores, keep, compared)


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")

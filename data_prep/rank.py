"""Scored answers -> pairs for the reward model: a record per pair, with chosen, rejected, who decided and the margin.

People come first (--labels), then rules between responders (--prefer), then scores (korlhf/data/ranking.py). The report
says what may have slipped in besides quality: responders, the place in the list, length, and the best trivial rule.
Records of the same prompt in several files are one prompt with all its answers.
Left out: asking people (their labels come as a file) and judging (score.py).
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.flags import flag, parse
from korlhf.data import labels as human
from korlhf.data import record as records
from korlhf.data import stage
from korlhf.data_prep import rank

ELSEWHERE = "add its record to --input, or, if the label is about other records, name their files with --also_labelled"


@dataclass(frozen=True, kw_only=True)
class RankFlags:
    """pairs"""

    pairs: str = flag(
        "all", "pairs by score: all of a prompt, or its best and its worst answer", choices=["all", "best_worst"]
    )
    threshold: float | None = flag(None, "no pair by score if both scores are under it; not given = no threshold")
    min_margin: float = flag(0.0, "least difference of two scores; equal scores are never a pair", low=0)
    prefer: list[str] = flag(
        [], "rules that overrule scores: CATEGORY:BETTER>WORSE, names of responders, e.g. 'translated:chatgpt>sft'"
    )
    labels: list[str] = flag(
        [],
        "files of human labels, which overrule everything: {id or prompt, chosen, rejected[, annotator]} or "
        "{id or prompt, verdict: tie | both_bad, answers: [.., ..][, annotator]}",
    )
    also_labelled: list[str] = flag(
        [], "files of other records, e.g. of the other side of a split: labels about those are passed over"
    )
    people_only: list[str] = flag([], "categories in which only human labels make pairs")
    leave_out: list[str] = flag([], "categories that get no pairs at all")
    max_pairs_per_prompt: int = flag(
        0, "most pairs per prompt: people's first, then rules', then the widest margins; 0 = all", low=0
    )

    def check(self, parser):
        if self.also_labelled and not self.labels:
            parser.error("--also_labelled goes with --labels; give those, or delete it")


def main(argv=None):
    groups = stage.StageFlags, RankFlags
    files, args = parse(argv, "Pairs for the reward model out of scored or labelled answers", *groups)
    with stage.Stage("rank", files.output, args, [*files.input, *args.labels, *args.also_labelled]) as out:
        prompts, merged = rank.read_prompts(files.input)
        if merged:
            out.count("records added to an earlier one of the same prompt", merged)
        others = {record["id"] for _, record in records.read(args.also_labelled)}
        labels, passed = human.read_labels(args.labels, prompts, others, ELSEWHERE)
        if args.labels:
            out.count("labels", sum(map(len, labels.values())))
            out.count("labels on other records, passed over", passed)
        preferences = rank.read_preferences(args.prefer, prompts)
        warnings = rank.strange_categories(args, preferences, prompts)
        kept = rank.rank_all(args, prompts, preferences, labels, out)
        out.extra.update(rank.summary(kept), warnings=warnings)
    print("\n".join(rank.describe(out.extra) + warnings))


if __name__ == "__main__":
    program.run(main, stage.STARTS_OVER)

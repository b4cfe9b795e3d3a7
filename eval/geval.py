"""G-Eval of several models: their answers to the same prompts, scored by a judge with the rubrics of data_prep, or by a
reward model.

Every answer is judged by itself. Shown are means by category and criterion, paired differences with p-values adjusted
for their number, and the judge's own noise: what happens to scores when the same answers are judged again. Left out:
several judges at once (run it again with another folder), and answers judged next to each other (win_rate.py does
that).
"""

from dataclasses import dataclass
from functools import partial

from korlhf.core import program
from korlhf.core.flags import flag, parse
from korlhf.eval.flags import AnswerFlags, ResultFlags, RubricFlags
from korlhf.eval.session import baseline, session
from korlhf.judges.flags import JudgeFlags
from korlhf.llm.flags import LlmFlags, SamplerFlags


@dataclass(frozen=True, kw_only=True)
class GevalFlags(RubricFlags):
    """comparison"""

    baseline: str = flag("", "compare every other responder with this one alone; not given = every two of them")
    rescore_share: float = flag(
        0.1, "share of the answers, at least 10, judged again to measure the judge's noise; 0 = none", low=0, high=1
    )


def main(argv=None):
    groups = ResultFlags, GevalFlags, AnswerFlags, JudgeFlags, SamplerFlags, LlmFlags
    settings = parse(argv, "Score the answers of several models with a judge", *groups)
    files, args, asked, judging, *_ = settings
    from korlhf.eval import comparison, geval

    records, grouped, of_category = comparison.prepare(asked, judging.judge, args.rubric, files.seed)
    with session("geval", settings, records, [judging.judge]) as s:
        judge, result, first = s.judges[judging.judge], s.result, baseline(args.baseline, s.answers)
        scored = comparison.score(judge, of_category, s)
        comparison.judged(s, judge, scored, grouped)
        geval.note_protocol(result, judge, of_category, scored)
        scale = comparison.scale(of_category)
        result.figures["means"] = geval.means_table(s, scored, grouped, scale)
        if of_category and comparison.usable(scored):
            result.figures["criteria"] = geval.criteria_tables(s, scored, grouped, of_category)
        rescore = partial(comparison.score, judge, of_category, s)
        noise, figures = geval.noise_table(s, judge, of_category, scored, args.rescore_share, rescore)
        result.figures["noise"] = figures
        unit = None if of_category else (first, geval.spread(scored, first))
        result.figures["differences"] = geval.differences_table(s, scored, grouped, args.baseline, unit, noise, scale)
        result.rows = geval.rows(s, scored)
    return result.code()


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")

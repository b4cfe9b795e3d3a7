"""G-Eval of several models: their answers to the same prompts, scored by a judge with the rubrics of data_prep, or by a
reward model.

Every answer is judged by itself. Shown are means by category and criterion, paired differences with p-values adjusted
for their number, and the judge's own noise: what happens to scores when the same answers are judged again. Left out:
several judges at once (run it again with another folder), and answers judged next to each other (win_rate.py does
that).
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.flags import flag
from korlhf.data.prompts import prompts
from korlhf.eval import comparison, geval
from korlhf.eval.flags import AnswerFlags, ResultFlags
from korlhf.eval.flags import parse as parse_flags
from korlhf.eval.session import baseline, session
from korlhf.eval.texts import say
from korlhf.judges import rubric as rubrics
from korlhf.judges.flags import JudgeFlags
from korlhf.llm.flags import LlmFlags, SamplerFlags


@dataclass(frozen=True, kw_only=True)
class GevalFlags:
    """comparison"""

    rubric: list[str] = flag(
        [],
        "rubrics of single categories in place of the ones of korlhf/judges/rubrics: CATEGORY=NAME of one of "
        "those, or CATEGORY=FILE.yaml",
    )
    baseline: str = flag("", "compare every other responder with this one alone; not given = every two of them")
    rescore_share: float = flag(
        0.1, "share of the answers, at least 10, judged again to measure the judge's noise; 0 = none", low=0, high=1
    )
    show_original: bool = flag(False, "also print the table that the original project published")


def parse(argv=None):
    groups = [ResultFlags, GevalFlags, AnswerFlags, JudgeFlags, SamplerFlags, LlmFlags]
    return parse_flags("Score the answers of several models with a judge", groups, argv)


def main(argv=None):
    files, args, asked, judging, *_ = settings = parse(argv)
    reward = judging.judge.startswith("reward_model:")
    if args.rubric and reward:
        raise InputError("--rubric is for a judge that reads one; a reward model does not")
    records = prompts(asked.data_path, asked.max_prompts, files.seed)
    grouped, categories = comparison.groups(records), list(dict.fromkeys(r["category"] for r in records))
    of_category = {} if reward else rubrics.for_categories(args.rubric, categories)
    with session("geval", settings, records, [judging.judge]) as s:
        judge, result, first = s.judges[judging.judge], s.result, baseline(args.baseline, s.answers)
        scored = comparison.score(judge, of_category, s)
        s.warn_of(judge)
        comparison.warn_of_few(result, grouped)
        for name in s.answers:
            of_model = [one for (model, _, _), one in scored.items() if model == name]
            result.lost(say("geval.judge_on", name=name), of_model)
        geval.note_protocol(result, judge, of_category, scored)
        result.figures["means"] = geval.means_table(s, scored, grouped)
        if args.show_original:
            geval.original_table(result)
        if not reward and comparison.usable(scored):
            result.figures["criteria"] = geval.criteria_tables(s, scored, grouped, of_category)
        noise, result.figures["noise"] = geval.noise_table(s, judge, of_category, scored, args.rescore_share)
        unit = (first, geval.spread(scored, first)) if reward else None
        result.figures["differences"] = geval.differences_table(s, scored, grouped, args.baseline, unit, noise)
        result.rows = geval.rows(s, scored)
    return result.code()


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")

"""How often models go along with harmful requests, and how often they refuse harmless ones that only look harmful, by
category.

The two rates belong together: a model that refuses everything has the best first one. Every verdict names who gave it:
the written rules, a judge (a server's model or a local language model), or a reward model (an answer that it scores
like rejected ones); with several at once their agreement is shown. Left out: attacks over several turns, and whether a
helpful answer is true.
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.flags import flag
from korlhf.eval import harmlessness_report as report
from korlhf.eval.flags import AnswerFlags, ResultFlags
from korlhf.eval.flags import parse as parse_flags
from korlhf.eval.harmlessness import OWN, load_prompts
from korlhf.eval.session import RULES, baseline, session
from korlhf.judges import judge as judges
from korlhf.judges.flags import JudgingFlags
from korlhf.llm.flags import LlmFlags, SamplerFlags


@dataclass(frozen=True, kw_only=True)
class HarmlessnessFlags:
    """verdicts"""

    judge: list[str] = flag(
        [RULES],
        "who gives the verdicts, one or more of: rules (the written check, korlhf/korean/refusals.py), "
        "openai:MODEL[@BASE_URL], checkpoint:FOLDER, reward_model:FOLDER",
    )
    harmful_pairs: str = flag(
        "sample/heldout_reward",
        "reward model: pairs that show which scores of answers to harmful prompts are bad; of a set with a category "
        "harmful those pairs",
    )
    lookalike_pairs: str = flag(
        "sample/heldout_reward", "the same for look-alikes; of a set with a category lookalike those pairs"
    )
    baseline: str = flag("", "the responder that the others are compared with; not given = the first")


def parse(argv=None):
    groups = [ResultFlags, HarmlessnessFlags, AnswerFlags, SamplerFlags, JudgingFlags, LlmFlags]
    settings = parse_flags(
        "Going along with harmful requests, and refusing harmless ones", groups, argv, data_path=[OWN]
    )
    for text in settings[1].judge:
        if text != RULES and text.partition(":")[0] not in judges.KINDS:
            raise InputError(
                f"--judge {text}: give {RULES} (the written check), or {judges.USAGE.removeprefix('give ')}"
            )
    return settings


def main(argv=None):
    files, args, asked, *_ = settings = parse(argv)
    records = load_prompts(asked.data_path, asked.max_prompts, files.seed)
    kinds = [r["kind"] for r in records]
    pairs = {"harmful": args.harmful_pairs, "lookalike": args.lookalike_pairs, "harmless": args.lookalike_pairs}
    with session("harmlessness", settings, records, args.judge) as s:
        result, first = s.result, baseline(args.baseline, s.answers)
        by_judge = {text: report.judged(s, text, pairs) for text in s.judges}
        report.warn_of_one_side(result, kinds)
        report.warn_of_one_verdict(result, by_judge)
        result.figures["rates"] = {}
        for text, by_model in by_judge.items():
            result.figures["rates"][text] = report.rates_table(result, text, kinds, by_model)
            report.differences_table(result, text, kinds, by_model, first)
            report.categories_table(result, text, records, by_model)
            report.verdicts_table(result, text, kinds, by_model)
        report.agreement_table(result, kinds, by_judge)
        result.rows = report.rows(s, by_judge)
    return result.code()


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")

"""How often models go along with harmful requests, and how often they refuse harmless ones that only look harmful, by
category.

The two rates belong together: a model that refuses everything has the best first one. Every verdict names who gave it:
the written rules, a judge (a server's model or a local language model), or a reward model (an answer that it scores
like rejected ones); with several at once their agreement is shown. sample/pressure leads to the wish over several
turns. Left out: attackers that react to the answers, and whether a helpful answer is true.
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.flags import flag, parse
from korlhf.eval.flags import AnswerFlags, ResultFlags
from korlhf.eval.harmlessness import OWN, load_prompts
from korlhf.eval.session import RULES, baseline, session
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


def main(argv=None):
    groups = ResultFlags, HarmlessnessFlags, AnswerFlags, SamplerFlags, JudgingFlags, LlmFlags
    description = "Going along with harmful requests, and refusing harmless ones"
    files, args, asked, *_ = settings = parse(argv, description, *groups, data_path=[OWN])
    from korlhf.eval import harmlessness_report as report

    records, licences = load_prompts(asked.data_path, asked.max_prompts, files.seed)
    pairs = {"harmful": args.harmful_pairs, "lookalike": args.lookalike_pairs, "harmless": args.lookalike_pairs}
    with session("harmlessness", settings, records, args.judge) as s:
        result, first = s.result, baseline(args.baseline, s.answers)
        result.protocol |= {f"licence of {name}": licence for name, licence in licences.items()}
        verdicts = report.judged(s, pairs)
        report.warn_of_doubts(s, verdicts)
        result.figures["rates"] = {text: report.tables(s, text, verdicts, first) for text in s.judges}
        report.agreement_table(result, verdicts)
        result.rows = report.rows(s, verdicts)
    return result.code()


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")

"""Best of N: how often the answer that a reward model picks of N wins against one answer, by a judge of its own.

The gate before PPO: where the curve does not rise, the reward model finds nothing that the judge likes better, and PPO
against it will not either. Left out: answers judged in pairs (every answer is judged by itself, once).
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.flags import REQUIRED, flag, parse
from korlhf.eval.flags import AnswerFlags, ResultFlags, RubricFlags
from korlhf.eval.session import RULES, session
from korlhf.eval.texts import say
from korlhf.judges.flags import JudgingFlags
from korlhf.llm.flags import LlmFlags, SamplerFlags


@dataclass(frozen=True, kw_only=True)
class BestOfNFlags(RubricFlags):
    """best of N"""

    reward_model: str = flag(REQUIRED, "the reward model that picks: a folder or hub name")
    judge: str = flag(
        REQUIRED,
        "another one that says which answer is better: openai:MODEL[@BASE_URL], checkpoint:FOLDER, "
        "reward_model:FOLDER, or a rule such as rules:friendly",
    )

    def check(self, parser):
        if self.judge.removeprefix("reward_model:") == self.reward_model:
            parser.error(f"--judge {self.judge}: is the model that picks; give another judge")


def main(argv=None):
    groups = ResultFlags, BestOfNFlags, AnswerFlags, JudgingFlags, SamplerFlags, LlmFlags
    description = "Best of N by a reward model, in the eyes of a judge"
    files, args, asked, *_ = settings = parse(argv, description, *groups, num_answers=65, temperature=1.0)
    from korlhf.eval import best_of_n, comparison

    by_rule = args.judge.startswith("rules:")
    rules = best_of_n.RulesJudge(args.judge) if by_rule else None
    of = "reward_model:" if by_rule else args.judge  # neither reads a rubric
    records, grouped, of_category = comparison.prepare(asked, of, args.rubric, files.seed)
    picks = f"reward_model:{args.reward_model}"
    with session("best_of_n", settings, records, [picks, RULES if by_rule else args.judge]) as s:
        judge, result, picking = rules or s.judges[args.judge], s.result, s.judges[picks]
        if not rules and judge.fingerprint and judge.fingerprint == picking.fingerprint:
            raise InputError(f"--judge {args.judge}: is the model that picks; give another judge")
        scored = comparison.score(picking, {}, s, desc="picking")
        judged = rules.score(s) if rules else comparison.score(judge, of_category, s)
        if not rules:
            s.warn_of(judge)
        comparison.warn_of_few(result, grouped)
        result.lost(say("best_of_n.picking"), list(scored.values()))
        result.lost(say("best_of_n.judging"), list(judged.values()))
        usable = comparison.usable(scored), comparison.usable(judged)
        found = {
            name: best_of_n.by_prompt([p for p in comparison.places(s.answers) if p[0] == name], *usable)
            for name in s.answers
        }
        curves = {name: best_of_n.curve(of_prompts) for name, of_prompts in found.items()}
        if not any(len(points) > 1 for points in curves.values()):
            raise InputError(
                f"--num_answers {asked.num_answers}: best of 2 against another answer takes 3; give 3 or more"
            )
        result.protocol |= {"picked by": picking.protocol(), "judge": judge.protocol()}
        result.protocol["interval"] = say("best_of_n.interval")
        result.figures["best_of_n"] = curves
        best_of_n.table(s, curves)
        best_of_n.picture(result.folder / best_of_n.PICTURE, curves, judge.name)
        result.rows = best_of_n.rows(s, found)
    return result.code()


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")

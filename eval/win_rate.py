"""Which of several models answers better: every two of them side by side, before a judge that sees both orders, or by a
reward model.

Shown are win rates with ties, the same with length taken out, how much the judge goes by place and by length, and for
more than two models a matrix and Bradley-Terry strengths. An answer wins if both orders name it. Left out: comparisons
across prompts, and more than two answers in one question.
"""

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.flags import parse
from korlhf.eval.flags import AnswerFlags, ResultFlags, RubricFlags
from korlhf.eval.session import session
from korlhf.judges.flags import JudgeFlags
from korlhf.llm.flags import LlmFlags, SamplerFlags


def main(argv=None):
    groups = ResultFlags, RubricFlags, AnswerFlags, JudgeFlags, SamplerFlags, LlmFlags
    files, args, asked, judging, *_ = settings = parse(argv, "Win rates of several models' answers", *groups)
    if len(asked.responder) < 2:
        raise InputError("--responder: a win rate needs two or more responders")
    from korlhf.eval import comparison, win_rate
    from korlhf.eval import win_rate_report as report

    records, grouped, of_category = comparison.prepare(asked, judging.judge, args.rubric, files.seed)
    with session("win_rate", settings, records, [judging.judge]) as s:
        judge, result = s.judges[judging.judge], s.result
        verdicts = win_rate.play(judge, of_category, s)
        games = win_rate.games(verdicts, s.answers)
        report.judged(s, judge, verdicts, grouped)
        report.note_protocol(result, judge, of_category, games)
        figures = result.figures
        figures["win_rates"] = report.rates_table(s, games, grouped)
        figures["place"] = report.place_table(s, judge, games)
        figures["longer"] = report.length_table(s, judge, games, figures["win_rates"])
        if len(s.answers) > 2 and len(games):
            figures["strengths"] = report.strength_tables(s, games, figures["win_rates"])
        result.rows = report.rows(s, verdicts)
    return result.code()


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")

"""Multi-turn judge benchmarks in Korean: LogicKor, KoMT-Bench, Ko-Arena-Hard, m-ArenaHard; each is an entry of
korlhf/eval/chat_benchmarks.yaml.

Models answer turn after turn, with their own earlier answers before them, and a judge scores every turn, the whole
conversation by criteria, or two answers side by side in both orders. A share is judged again to measure the judge's
noise. Left out: several judges and several benchmarks at once (run it again, in the same folder).
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.files import AtomicFile
from korlhf.core.flags import REQUIRED, flag, parse
from korlhf.eval.chat_questions import BENCHMARKS, CONVERSATION, PAIR, read_questions
from korlhf.eval.flags import AnswerFlags, ResultFlags
from korlhf.eval.session import baseline, session
from korlhf.judges.flags import JudgeFlags
from korlhf.llm.flags import LlmFlags, SamplerFlags
from korlhf.llm.responders import read_responders


@dataclass(frozen=True, kw_only=True)
class ChatBenchmarkFlags:
    """benchmark"""

    benchmark: str = flag(REQUIRED, f"which one: {', '.join(BENCHMARKS)}")
    baseline: str = flag("", "the responder that the others are compared with; not given = the first")
    talks: str = flag(
        "",
        "also write whole talks here, of a benchmark that judges those, for people to label (applications/label) and "
        "eval/agreement.py",
        output="file",
    )
    rescore_share: float = flag(
        0.1, "share of what is judged, at least 10, judged again to measure the judge's noise; 0 = none", low=0, high=1
    )


@dataclass(frozen=True, kw_only=True)
class TurnFlags(AnswerFlags):
    """questions and answers"""

    data_path: list[str] = flag([], "a local copy of the benchmark's file; not given = where its owners publish it")

    def check(self, parser):
        if self.num_answers > 1:
            parser.error(f"--num_answers {self.num_answers}: each turn is answered once; delete the flag")
        if len(self.data_path) > 1:
            parser.error(f"--data_path {' '.join(self.data_path)}: one file is a benchmark; give one")


def main(argv=None):
    groups = ResultFlags, ChatBenchmarkFlags, TurnFlags, JudgeFlags, SamplerFlags, LlmFlags
    description = "Multi-turn judge benchmarks in Korean"
    settings = parse(argv, description, *groups, temperature=0.0, max_new_tokens=1024)
    files, args, asked, judging, _, llm = settings
    benchmark = BENCHMARKS.get(args.benchmark)
    if benchmark is None:
        raise InputError(f"--benchmark {args.benchmark}: there is none of this name; give {' or '.join(BENCHMARKS)}")
    if benchmark.kind == PAIR and len(asked.responder) < 2:
        raise InputError(f"--responder: {benchmark.title} compares answers; give two or more, the baseline first")
    if args.talks and benchmark.kind != CONVERSATION:
        raise InputError(f"--talks: {benchmark.title} does not judge whole talks; delete the flag")
    first = baseline(args.baseline, [r.name for r in read_responders(asked.responder, llm.base_url)])
    questions = read_questions(benchmark, *asked.data_path, max_questions=asked.max_prompts, seed=files.seed)
    from korlhf.eval import agreement, chat_benchmark
    from korlhf.eval import chat_benchmark_report as report

    how = {"name": benchmark.name, "answer": chat_benchmark.answering(benchmark)}
    with session("chat_benchmark", settings, questions, [judging.judge], **how) as s:
        show = report.pairs if benchmark.kind == PAIR else report.scores
        scored = show(s, benchmark, s.judges[judging.judge], first, args.rescore_share)
    if args.talks:
        with AtomicFile(args.talks, "--talks") as file:
            agreement.write_talks(file, s, benchmark.name, scored)
    return s.result.code()


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")

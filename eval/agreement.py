"""How far the judge of a chat benchmark and people agree on whole talks, and people with each other.

chat_benchmark.py --talks writes the talks with the judge's scores, applications/label shows them to people without,
and its export --form labels is read here. For a single criterion, people label by guidelines about it alone
(label.py --guidelines), into a database of its own. Left out: models of annotators.
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.flags import REQUIRED, flag, parse
from korlhf.eval.flags import ResultFlags


@dataclass(frozen=True, kw_only=True)
class AgreementFlags:
    """agreement"""

    talks: str = flag(REQUIRED, "file of chat_benchmark.py --talks")
    labels: list[str] = flag(REQUIRED, "files of applications/label/export.py --form labels")
    criterion: str = flag("", "key of the criterion that people were asked about; not given = the mean of all")


def main(argv=None):
    files, args = settings = parse(argv, "Agreement of people and judge", ResultFlags, AgreementFlags)
    from korlhf.eval import agreement
    from korlhf.eval.result import Result
    from korlhf.eval.texts import say

    prompts, scores = agreement.read_talks(args.talks, args.criterion)
    found = agreement.verdicts(prompts, scores, args.labels)
    if not found:
        raise InputError(f"--labels {' '.join(args.labels)}: no label is about two talks that the judge has scored")
    with Result("agreement", files.output_dir, settings, [args.talks, *args.labels]) as result:
        agreement.measure(result, found, files.seed)
        result.protocol["compared"] = args.criterion or say("agreement.mean")
        result.protocol["interval"] = say("agreement.interval")
        result.protocol["seed"] = files.seed


if __name__ == "__main__":
    program.run(main, "stopped; no file was written")

"""Look for what would poison training in data sets, show it, and on request put it right.

Reads JSONL, JSON, CSV or parquet files as they are, twice: once to look, once to fetch examples and to write the fixed
files. Writes OUTPUT/audit.html for people and OUTPUT/audit.json for programs; with --fix also OUTPUT/fixed/NAME.jsonl
and NAME.removed.jsonl with the reasons. What it finds is no failure: the exit code is 0.
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core import program
from korlhf.core.flags import REQUIRED, flag, parse, seed_flag
from korlhf.data import stage
from korlhf.data_prep.audit import REMOVABLE, ROLES


@dataclass(frozen=True, kw_only=True)
class AuditFlags:
    """audit"""

    sft: list[str] = flag([], "files of step 1: prompts with answers")
    reward: list[str] = flag([], "files of step 2: chosen + rejected, or ranked answers")
    prompts: list[str] = flag([], "files of step 3: prompts")
    test: list[str] = flag([], "held-out files of any step; their prompts must not be in the others")
    input: list[str] = flag([], "files without a role: each is a set of its own")
    output: str = flag(REQUIRED, "folder for audit.html, audit.json and fixed/", output="folder")
    fix: bool = flag(False, "write the files again, cleaned, without rows that cannot be used")
    remove: list[str] = flag([], f"with --fix: also remove the rows with these findings: {', '.join(REMOVABLE)}")
    remove_test_rows: bool = flag(
        False, "with --fix: remove rows of --test files too, which shrinks the test set; else they are cleaned alone"
    )
    min_hangul: float = flag(
        0.3, "a text with a smaller share of Hangul among its letters is reported as not Korean", low=0, high=1
    )
    min_answer_chars: int = flag(5, "an answer with fewer non-space characters is reported as very short", low=0)
    threshold: float = flag(
        0.8, "Jaccard similarity of character 3-grams from which two prompts are near-duplicates", above=0, high=1
    )
    examples: int = flag(5, "examples shown of each finding", above=0)
    seed: int = seed_flag("seed of samples, halves and folds")

    def check(self, parser):
        if not any(getattr(self, role) for role in ROLES):
            parser.error("nothing to look at: give --input FILES, or files by role: --sft, --reward, --prompts, --test")
        if unknown := [kind for kind in self.remove if kind not in REMOVABLE]:
            parser.error(f"--remove {' '.join(unknown)}: no such kind of finding; choose from {', '.join(REMOVABLE)}")
        if (self.remove or self.remove_test_rows) and not self.fix:
            parser.error(f"{'--remove' if self.remove else '--remove_test_rows'} needs --fix")


def main(argv=None):
    (args,) = parse(argv, "Look for what would poison training in data sets, and put it right", AuditFlags)
    from korlhf.data_prep.audit import report, run

    found = run.run(args)
    print(report.table(found))
    output = Path(args.output).expanduser()
    paths = [output / "audit.html", output / "audit.json", *([output / "fixed"] if found["fixed"] else [])]
    print(f"written: {', '.join(map(str, paths))}")


if __name__ == "__main__":
    program.run(main, stage.STARTS_OVER)

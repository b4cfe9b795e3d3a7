"""One self-contained HTML page, in Korean and English, of everything in a run's folder: what was trained on what, the
curves, the tables of every evaluation with how it was measured, and the answers side by side; all warnings come first.

What the run does not have is named, with the command that makes it. Only files are read: no model is loaded. Left out:
comparing several runs in one page.
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core import flags, program


@dataclass(frozen=True, kw_only=True)
class ReportFlags:
    """report"""

    run_dir: str = flags.flag(
        flags.REQUIRED, "folder of a run: the trained models lie in its folders, e.g. output/quickstart"
    )
    eval_dir: str = flags.flag("", "folder with the results of the evaluation programs; default: eval in --run_dir")
    output: str = flags.flag("", "HTML file to write; default: report.html in --run_dir", output="file")
    title: str = flags.flag("", "heading of the page; default: the name of the run's folder")


def main(argv=None):
    (args,) = flags.parse(argv, "One HTML page of a whole run", ReportFlags)
    from korlhf.eval.report import checks, gather, page

    run = gather.read_run(args.run_dir, args.eval_dir)
    warnings = checks.warnings(run)
    output = Path(args.output or run.folder / "report.html").expanduser()
    page.write(output, run, warnings, args.title or run.folder.resolve().name)
    for warning in warnings:
        print(f"WARNING: {warning.text['en']}")
    print(f"written: {output} ({len(run.stages)} models, {len(run.results)} results, {len(warnings)} warnings)")


if __name__ == "__main__":
    program.run(main)

"""The labels of people -> a file for step 2 (--data_path), or for rank (--labels).

Of every two answers the majority decides (korlhf/applications/label/export.py). Items that somebody flagged are left
out. May run while people label. Left out: the names of people; they are numbered."""

from dataclasses import dataclass

from korlhf.applications.label import agreement, export
from korlhf.applications.label.store import Store
from korlhf.core import flags, program
from korlhf.data import stage

STOPPED = "stopped; no file was written"


@dataclass(frozen=True, kw_only=True)
class ExportFlags:
    """export"""

    database: str = flags.flag(flags.REQUIRED, "SQLite file of label.py")
    output: str = flags.flag(
        flags.REQUIRED, "JSONL file to write; its report is next to it as .report.json", output="file"
    )
    form: str = flags.flag(
        "pairs",
        "pairs: chosen and rejected, a line for each pair that people decided; ranked: answers best first, a "
        "line for each prompt; labels: what each person said, for rank.py --labels; full: every label as it was given",
        choices=("pairs", "ranked", "labels", "full"),
    )
    min_agreement: float = flags.flag(
        0.0,
        "pairs and ranked: least share of the votes on two answers that the winning verdict must have",
        low=0,
        high=1,
    )
    min_annotators: int = flags.flag(1, "pairs and ranked: leave out items that fewer people have labelled", low=1)

    def check(self, parser):
        if self.form in export.FORMS and (self.min_agreement or self.min_annotators > 1):
            others = "--min_agreement and --min_annotators go with the others"
            parser.error(f"--form {self.form} writes all labels; {others}")


def main(argv=None):
    (args,) = flags.parse(argv, "Labels of people as training pairs", ExportFlags)
    with (
        Store(args.database, must_exist=True) as store,
        stage.Stage("label export", args.output, args, [args.database]) as out,
    ):
        labels = store.labels()  # before the items: every label is then about one of them
        items = store.items()
        out.count("items", len(items))
        out.count("labels", sum(map(len, labels.values())))
        export.write(args, items, labels, out)
        raters = max((len(export.voting(given)) for given in labels.values()), default=0)
        out.extra["agreement"] = agreement.summary(items, labels, raters)
    print(agreement.describe(out.extra["agreement"]))


if __name__ == "__main__":
    program.run(main, STOPPED)

"""The labels of people -> a file for step 2 (--data_path), or for rank (--labels).

Of every two answers the majority decides (korlhf/applications/label/export.py). Items that somebody flagged are left out. May run while people
label. Left out: the names of people; they are numbered.
"""

from dataclasses import dataclass

from korlhf.applications.label import agreement, export
from korlhf.applications.label.store import Store
from korlhf.core import flags, program
from korlhf.data import stage

FORMS = ("pairs", "ranked", "labels", "full")


@dataclass(frozen=True, kw_only=True)
class ExportFlags:
    """export"""

    database: str = flags.flag(flags.REQUIRED, "SQLite file of label.py")
    output: str = flags.flag(flags.REQUIRED, "JSONL file to write; its report is beside it as .report.json")
    form: str = flags.flag(
        "pairs",
        "pairs: chosen and rejected, a line for each pair that people decided; ranked: answers best first, a "
        "line for each prompt; labels: what each person said, for rank.py --labels; full: every label as it was given",
        choices=FORMS,
    )
    min_agreement: float = flags.flag(
        0.0, "pairs and ranked: least share of the votes on two answers that the winning verdict must have"
    )
    min_annotators: int = flags.flag(1, "pairs and ranked: leave out items that fewer people have labelled")


def parse(argv=None):
    """ExportFlags"""
    parser = flags.Parser(description="Labels of people as training pairs")
    flags.add(parser, ExportFlags)
    args = flags.read(parser.parse_args(argv), ExportFlags)
    if not 0 <= args.min_agreement <= 1 or args.min_annotators < 1:
        parser.error(
            f"--min_agreement {args.min_agreement}, --min_annotators {args.min_annotators}: give a share from 0 to 1, and 1 or "
            "more"
        )
    if args.form in ("labels", "full") and (args.min_agreement or args.min_annotators > 1):
        parser.error(
            f"--form {args.form} writes what each person said; --min_agreement and --min_annotators go with pairs and ranked"
        )
    return args


def write_decided(args, item, given, out):
    """The pairs of one item, or its answers best first, and why others are left out."""
    example = {"id": item.record["id"], "item": item.id}
    if len(given) < args.min_annotators:
        out.drop("item: too few labels yet" if given else "item: not labelled yet", example)
        return
    decided, dropped = export.decide(item, given, args.min_agreement)
    for reason in dropped.elements():
        out.drop(f"pair: {reason}", example)
    if args.form == "pairs":
        for pair in decided:
            out.write(export.pair_record(item, given, pair))
        return
    record = export.ranked_record(item, given, decided)
    if record:
        out.write(record)
        out.count("pairs that these answers make", len(record["answers"]) * (len(record["answers"]) - 1) // 2)
    else:
        out.drop("item: no pair was decided", example)


def write_all(args, items, labels, out):
    """One line or several for each item, in the order in which the items came."""
    for number, item in program.bar(items.items(), desc="exporting", unit="items"):
        given = labels.get(number, [])
        if args.form == "full":
            for row in export.full_rows(item, given):
                out.write(row)
        elif any(label.verdict.kind == "flag" for label in given):
            out.drop("item: flagged", {"id": item.record["id"], "item": item.id})
        elif args.form == "labels":
            for row in export.label_rows(item, export.voting(given)):
                out.write(row)
        else:
            write_decided(args, item, export.voting(given), out)


def main(argv=None):
    args = parse(argv)
    with (
        Store(args.database, must_exist=True) as store,
        stage.Stage("label export", args.output, args, [args.database]) as out,
    ):
        labels = store.labels()  # before the items: every label is then about one of them
        items = store.items()
        out.count("items", len(items))
        out.count("labels", sum(map(len, labels.values())))
        write_all(args, items, labels, out)
        raters = max((len(export.voting(given)) for given in labels.values()), default=0)
        out.extra["agreement"] = agreement.summary(items, labels, raters)
    print(describe(out.extra["agreement"]))


def describe(found):
    """The agreement as a line for people."""
    if found["percent"] is None:
        return "agreement: no two people have labelled the same item yet"
    parts = [f"{found['percent']:.3f} of {found['percent_n']:,} judgements of two people are equal"]
    if found["fleiss"] is not None and len(found["cohen"]) != 1:
        parts.append(f"Fleiss' kappa {found['fleiss']:.3f} (n {found['fleiss_n']:,})")
    parts += [
        f"Cohen's kappa {export.person(c['first'])}, {export.person(c['second'])}: {c['kappa']:.3f} (n {c['n']:,})"
        for c in found["cohen"]
    ]
    return "agreement: " + "; ".join(parts)


if __name__ == "__main__":
    program.run(main)

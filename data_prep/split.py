"""Records -> disjoint training and test sets of the three steps: DIR/{sft,reward,prompts}_{train,test}.jsonl.

Records of the same or a near-same prompt (korlhf/data/near_duplicates.py) are one group, and a group is in one file only, so nothing that is trained
on comes back as a test, nor in another step. Within each category the groups are dealt out by largest remainder in the order of a hash, so
every file has its share of every category, the result depends on the data and the seed alone, and a few more records move few groups.
DIR/split.jsonl says where each record went. Left out: splitting again inside the training (give --data_split 1,0,0 and the like there).
"""

import hashlib
import json
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.data import example as rows
from korlhf.data import near_duplicates as near
from korlhf.data import record as records
from korlhf.data import split as splits
from korlhf.data import stage

STEPS, SIDES = ("sft", "reward", "prompts"), ("train", "test")
CELLS = [f"{step}_{side}" for step in STEPS for side in SIDES]
OF_ANSWERS = {
    *rows.ANSWERS,
    "rejected",
    "candidates",
    "chosen_model",
    "rejected_model",
    "chosen_score",
    "rejected_score",
    "margin",
    "by",
}
EXAMPLES, EXAMPLE_PROMPTS = 5, 4  # merged groups shown in the report, and prompts of each


@dataclass(frozen=True, kw_only=True)
class SplitFlags:
    """split"""

    input: list[str] = flags.flag(flags.REQUIRED, "JSONL (or JSON, CSV, parquet) files of records")
    output_dir: str = flags.flag(flags.REQUIRED, "folder of the files to write")
    shares: str = flags.flag(
        "2,4,4", "shares of the prompts for SFT, reward model and PPO; a step with the share 0 gets no files"
    )
    test_share: float = flags.flag(0.1, "share of each step held out as its test set; 0 = no test sets")
    exclude: list[str] = flags.flag(
        [], "files of prompts, e.g. of a benchmark: records of the same or a near-same prompt are left out"
    )
    threshold: float = flags.flag(0.8, "Jaccard similarity of character 3-grams from which two prompts are near-same")
    seed: int = flags.flag(1234, "seed of the order in which groups are dealt out")


@dataclass(frozen=True)
class Group:
    """ids: of its different prompts, sorted. category: the most frequent. rows: numbers of its records. answered: one can train step 1."""

    ids: list[str]
    category: str
    answered: bool
    rows: list[int]

    @property
    def name(self):
        return self.ids[0]


def parse(argv=None):
    parser = flags.Parser(description="Training and test sets of the three steps, disjoint by near-same prompts")
    flags.add(parser, SplitFlags)
    args = flags.read(parser.parse_args(argv), SplitFlags)
    try:
        splits.parse_shares(args.shares)
    except InputError:
        parser.error(f"--shares {args.shares!r}: give three shares, one for each step, e.g. 2,4,4")
    if not 0 <= args.test_share < 1:
        parser.error(f"--test_share {args.test_share}: give a share from 0 up to, but not, 1")
    if not 0 < args.threshold <= 1:
        parser.error(f"--threshold {args.threshold}: give a similarity above 0 and at most 1")
    return args


def weights(shares, test_share):
    """Share of each of CELLS, exact: what people wrote, not its nearest binary number."""
    parts, test = [Fraction(s.strip()) for s in shares.split(",")], Fraction(str(test_share))
    return [part / sum(parts) * side for part in parts for side in (1 - test, test)]


def largest_remainder(n, shares):
    """n dealt out by `shares` (any scale): whole numbers that add up to n, each within 1 of its exact share; ties to the earlier."""
    exact = [n * share / sum(shares) for share in shares]
    out = [int(x) for x in exact]
    for i in sorted(range(len(shares)), key=lambda i: (out[i] - exact[i], i))[: n - sum(out)]:
        out[i] += 1
    return out


def deal(groups, shares, seed):
    """The cell of every Group, or None if none can take it: only groups with an answer can go to step 1, which takes its share first.

    shares: as of `weights`.
    """
    place = [None] * len(groups)
    by_category = defaultdict(list)
    for i in sorted(range(len(groups)), key=lambda i: hashlib.sha256(f"{seed}:{groups[i].name}".encode()).digest()):
        by_category[groups[i].category].append(i)
    for members in by_category.values():
        quotas = largest_remainder(len(members), shares)
        answered = [i for i in members if groups[i].answered]
        if sum(quotas[:2]) > len(answered):  # fewer than step 1's share: it gets them all, the other steps the rest
            first = largest_remainder(len(answered), shares[:2])
            rest = largest_remainder(len(members) - len(answered), shares[2:]) if sum(shares[2:]) else [0] * 4
            quotas = first + rest
        chosen = answered[: sum(quotas[:2])]
        taken = set(chosen)
        order = chosen + [i for i in members if i not in taken]
        cells = [cell for cell, quota in enumerate(quotas) for _ in range(quota)]
        for i, cell in zip(order, cells):
            place[i] = cell
    return place


def trains_sft(record):
    """Whether a record has an answer that step 1 can train on."""
    return bool(record.get("output") or record.get("chosen"))


def read_groups(args):
    """(Groups in order of first occurrence, the set of row numbers whose prompt is in --exclude)."""
    texts = [splits.conversation_key(records.messages(record)) for _, record in records.read(args.exclude)]
    excluding = len(texts)
    ids, categories, answered = [], [], []
    for _, record in program.bar(records.read(args.input), desc="reading"):
        texts.append(splits.conversation_key(records.messages(record)))
        ids.append(record["id"])
        categories.append(record["category"])
        answered.append(trains_sft(record))
    numbers = near.groups(texts, args.threshold)
    excluded = set(numbers[:excluding])
    members = defaultdict(list)
    for row, number in enumerate(numbers[excluding:]):
        members[number].append(row)
    groups = []
    for number, of_group in members.items():
        if number not in excluded:
            counts = Counter(categories[row] for row in of_group)
            groups.append(
                Group(
                    sorted({ids[row] for row in of_group}),
                    min(counts, key=lambda c: (-counts[c], c)),
                    any(answered[row] for row in of_group),
                    of_group,
                )
            )
    return groups, {row for number in excluded for row in members[number]}


class Parts:
    """The files of the cells, written as NAME.jsonl.partial and renamed together; those of cells that are not used are removed."""

    def __init__(self, folder, used):
        self.paths = {name: folder / f"{name}.jsonl" for name in CELLS}
        self.used = used

    def __enter__(self):
        self._stack = ExitStack()
        self._files = {
            name: self._stack.enter_context(open(f"{self.paths[name]}.partial", "w", encoding="utf-8"))
            for name in self.used
        }
        return self

    def __exit__(self, kind, error, trace):
        self._stack.close()
        for name, file in self._files.items():
            Path(file.name).unlink() if kind else Path(file.name).replace(self.paths[name])
        for name in () if kind else set(CELLS) - set(self.used):
            self.paths[name].unlink(
                missing_ok=True
            )  # of an earlier run with other shares: it would share prompts with the new files

    def write(self, name, record):
        self._files[name].write(json.dumps(record, ensure_ascii=False) + "\n")


def without_answers(record):
    """A copy of a record for PPO: its prompt and where it comes from."""
    kept = {k: v for k, v in record.items() if k not in OF_ANSWERS}
    if isinstance(kept.get("original"), dict):  # of a translated record: the texts before
        kept["original"] = {k: v for k, v in kept["original"].items() if k not in OF_ANSWERS}
    return kept


def write_all(args, groups, cells, excluded, parts, out, texts):
    """Write every record to the file of its group, and where it went to split.jsonl -> Counter of records by (category of the group, cell).

    texts: a dict of ids, whose values become the prompts.
    """
    group_of = {row: i for i, group in enumerate(groups) for row in group.rows}
    written, prompts = Counter(), set()
    for row, (_, record) in enumerate(
        program.bar(records.read(args.input), desc="writing", total=len(group_of) + len(excluded))
    ):
        group = None if row in excluded else groups[group_of[row]]
        cell = None if group is None else cells[group_of[row]]
        step, side = (None, None) if cell is None else CELLS[cell].split("_")
        reason = (
            "its prompt is in --exclude"
            if group is None
            else "no answer, and step 1 alone has a share"
            if cell is None
            else "no answer, while near-same prompts are in the SFT set"
            if step == "sft" and not trains_sft(record)
            else "the same prompt is in the PPO set already"
            if step == "prompts" and record["id"] in prompts
            else None
        )
        if record["id"] in texts:
            texts[record["id"]] = records.prompt(record)
        line = {
            "id": record["id"],
            "category": record["category"],
            "source": record["source"],
            "group": group.name if group else None,
        }
        if reason:
            out.drop(reason, {"id": record["id"], "prompt": records.prompt(record)})
            out.write({**line, "step": None, "side": None, "left_out": reason})
            continue
        if step == "prompts":
            prompts.add(record["id"])
            record = without_answers(record)
        if step == "reward":
            out.count(f"reward records {'with' if record.get('rejected') else 'without'} a pair")
        parts.write(CELLS[cell], records.step(record, "split", step=step, side=side))
        out.write({**line, "step": step, "side": side})
        written[group.category, cell] += 1
    return written


def table(groups, cells, shares, written):
    """{category: {cell: {"groups", "target" (exact number of groups), "records"}}} of the cells with a share."""
    dealt, of_category = Counter(zip((g.category for g in groups), cells)), Counter(g.category for g in groups)
    return {
        category: {
            CELLS[k]: {
                "groups": dealt[category, k],
                "target": round(float(n * share), 2),
                "records": written[category, k],
            }
            for k, share in enumerate(shares)
            if share
        }
        for category, n in sorted(of_category.items())
    }


def merged(groups):
    """The groups of several prompts, the largest first."""
    return sorted((g for g in groups if len(g.ids) > 1), key=lambda g: (-len(g.rows), g.name))


def describe(found, rows_total, largest):
    """The table and what is remarkable, as lines for people."""
    names = [name for name in CELLS if any(name in row for row in found.values())]
    lines = [f"  {'groups (target)':<16}" + "".join(f"{name:>18}" for name in names)]
    for category, row in found.items():
        lines.append(
            f"  {category:<16}" + "".join(f"{row[name]['groups']:>9} ({row[name]['target']:>6g})" for name in names)
        )
        sft = [row[name] for name in names if name.startswith("sft")]
        if sum(cell["groups"] for cell in sft) <= sum(cell["target"] for cell in sft) - 1:
            lines.append(
                f"WARNING: {category}: too few prompts with an answer for the share of step 1; the other steps got more"
            )
    lines += [
        f"WARNING: {name}.jsonl is empty: too few groups for its share"
        for name in names
        if not any(row[name]["records"] for row in found.values())
    ]
    if largest > max(10, rows_total / 20):
        lines.append(
            f"WARNING: one group of near-same prompts holds {largest} of {rows_total} records; if they share no more than a "
            "frame, raise --threshold"
        )
    return lines


def main(argv=None):
    args = parse(argv)
    folder, shares = Path(args.output_dir).expanduser(), weights(args.shares, args.test_share)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output_dir {args.output_dir}: is a file; give the name of a folder")
    for path in [*args.input, *args.exclude]:
        if Path(path).expanduser().resolve() in {(folder / f"{name}.jsonl").resolve() for name in CELLS}:
            raise InputError(f"--output_dir {args.output_dir}: {path} would be overwritten; give another folder")
    with stage.Stage("split", folder / "split.jsonl", args, [*args.input, *args.exclude]) as out:
        groups, excluded = read_groups(args)
        cells = deal(groups, shares, args.seed)
        several = merged(groups)
        texts = dict.fromkeys(i for g in several[:EXAMPLES] for i in g.ids[:EXAMPLE_PROMPTS])
        with Parts(folder, [name for name, share in zip(CELLS, shares) if share]) as parts:
            written = write_all(args, groups, cells, excluded, parts, out, texts)
        largest = max((len(g.rows) for g in groups), default=0)
        out.count("groups of near-same prompts", len(several))
        out.count("records in the largest group", largest)
        found = out.extra["table"] = table(groups, cells, shares, written)
        out.extra["near_same"] = {
            "groups": len(several),
            "records": sum(len(g.rows) for g in several),
            "largest_group": largest,
            "examples": [
                {"records": len(g.rows), "prompts": [texts[i] for i in g.ids[:EXAMPLE_PROMPTS]]}
                for g in several[:EXAMPLES]
            ],
        }
        total = out.rows
    print("\n".join(describe(found, total, largest)))


if __name__ == "__main__":
    program.run(main)

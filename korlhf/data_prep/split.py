"""Disjoint training and test sets: groups of near-duplicate prompts, dealt out by category (data_prep/split.py)."""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction

from korlhf.core import progress
from korlhf.data import near_duplicates
from korlhf.data import record as records
from korlhf.data.example import ANSWERS
from korlhf.data.split import conversation_key

STEPS, SIDES = ("sft", "reward", "prompts"), ("train", "test")
CELLS = [f"{step}_{side}" for step in STEPS for side in SIDES]
PAIR_COLUMNS = {f"{side}_{what}" for side in ("chosen", "rejected") for what in ("model", "score")}
OF_ANSWERS = {*ANSWERS, "rejected", "candidates", "margin", "by", *PAIR_COLUMNS}
EXAMPLES, EXAMPLE_PROMPTS = 5, 4  # merged groups shown in the report, and prompts of each


@dataclass(frozen=True)
class Group:
    """Records whose prompts are near-duplicates.

    ids: of the different prompts, sorted. category: the most frequent. rows: numbers of the records. answered: one of
    them can train step 1.
    """

    ids: list[str]
    category: str
    answered: bool
    rows: list[int]

    @property
    def name(self):
        return self.ids[0]


def weights(shares, test_share):
    """Share of each of CELLS, exact: what people wrote, not its nearest binary number."""
    parts, test = [Fraction(s.strip()) for s in shares.split(",")], Fraction(str(test_share))
    return [part / sum(parts) * side for part in parts for side in (1 - test, test)]


def largest_remainder(n, shares):
    """n dealt out by `shares` (any scale): whole numbers that add up to n, each within 1 of its share."""
    exact = [n * share / sum(shares) for share in shares]
    out = [int(x) for x in exact]
    for i in sorted(range(len(shares)), key=lambda i: (out[i] - exact[i], i))[: n - sum(out)]:
        out[i] += 1
    return out


def deal(groups, shares, seed):
    """The cell of every Group, or None if none can take it. shares: as of `weights`.

    Only groups with an answer can go to step 1, which takes its share first.
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
        chosen = dict.fromkeys(answered[: sum(quotas[:2])])
        order = [*chosen, *(i for i in members if i not in chosen)]
        cells = [cell for cell, quota in enumerate(quotas) for _ in range(quota)]
        for i, cell in zip(order, cells):
            place[i] = cell
    return place


def trains_sft(record):
    """Whether a record has an answer that step 1 can train on."""
    return bool(record.get("output") or record.get("chosen"))


def read_groups(paths, exclude, threshold):
    """(Groups in order of first occurrence, the set of row numbers whose prompt is in the files `exclude`)."""
    texts = [conversation_key(records.messages(record)) for _, record in records.read(exclude)]
    excluding, rows = len(texts), []
    for _, record in progress.bar(records.read(paths), desc="reading"):
        texts.append(conversation_key(records.messages(record)))
        rows.append((record["id"], record["category"], trains_sft(record)))
    numbers = near_duplicates.groups(texts, threshold)
    excluded = set(numbers[:excluding])
    members = defaultdict(list)
    for row, number in enumerate(numbers[excluding:]):
        members[number].append(row)
    groups = []
    for number, numbers_of_rows in members.items():
        if number not in excluded:
            ids, categories, answered = zip(*(rows[i] for i in numbers_of_rows))
            counts = Counter(categories)
            category = min(counts, key=lambda c: (-counts[c], c))
            groups.append(Group(sorted(set(ids)), category, any(answered), numbers_of_rows))
    return groups, {row for number in excluded for row in members[number]}


def without_answers(record):
    """A copy of a record for PPO: its prompt and where it comes from."""
    kept = {k: v for k, v in record.items() if k not in OF_ANSWERS}
    if isinstance(kept.get("original"), dict):  # of a translated record: the texts before
        kept["original"] = {k: v for k, v in kept["original"].items() if k not in OF_ANSWERS}
    return kept


@dataclass
class Dealing:
    """Where every record goes. cells: of each Group; excluded: numbers of the rows that go nowhere."""

    groups: list[Group]
    cells: list[int | None]
    excluded: set[int]

    def write(self, paths, files, out, texts):
        """Write every record to the file of its group, and to `out`, split.jsonl, where it went.

        files: {name of a cell: open file}; texts: a dict of ids, whose values become the prompts. Returns the Counter
        of records by (category of the group, cell).
        """
        group_of = {row: i for i, group in enumerate(self.groups) for row in group.rows}
        written, prompts, total = Counter(), set(), len(group_of) + len(self.excluded)
        for row, (_, record) in enumerate(progress.bar(records.read(paths), desc="writing", total=total)):
            group = None if row in self.excluded else self.groups[group_of[row]]
            cell = None if group is None else self.cells[group_of[row]]
            step, side = (None, None) if cell is None else CELLS[cell].split("_")
            if record["id"] in texts:
                texts[record["id"]] = records.prompt(record)
            line = {"id": record["id"], "category": record["category"], "source": record["source"]}
            line["group"] = group.name if group else None
            if reason := left_out(record, group, step, prompts):
                out.drop(reason, {"id": record["id"], "prompt": records.prompt(record)})
                out.write({**line, "step": None, "side": None, "left_out": reason})
                continue
            if step == "prompts":
                prompts.add(record["id"])
                record = without_answers(record)
            if step == "reward":
                out.count(f"reward records {'with' if record.get('rejected') else 'without'} a pair")
            record = records.step(record, "split", step=step, side=side)
            files[CELLS[cell]].write(json.dumps(record, ensure_ascii=False) + "\n")
            out.write({**line, "step": step, "side": side})
            written[group.category, cell] += 1
        return written

    def table(self, shares, written):
        """{category: {cell: {"groups", "target" (exact number of groups), "records"}}} of the cells with a share."""
        dealt = Counter(zip((g.category for g in self.groups), self.cells))
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
            for category, n in sorted(Counter(g.category for g in self.groups).items())
        }


def left_out(record, group, step, prompts):
    """Why a record is in no file, or "". prompts: ids in the PPO set so far."""
    if group is None:
        return "its prompt is in --exclude"
    if step is None:
        return "no answer, and step 1 alone has a share"
    if step == "sft" and not trains_sft(record):
        return "no answer, while near-same prompts are in the SFT set"
    return "the same prompt is in the PPO set already" if step == "prompts" and record["id"] in prompts else ""


def merged(groups):
    """The groups of several prompts, the largest first."""
    return sorted((g for g in groups if len(g.ids) > 1), key=lambda g: (-len(g.rows), g.name))


def near_same(several, largest, texts):
    """What the report says of the groups of several prompts. texts: prompts by id of those that are shown."""
    return {
        "groups": len(several),
        "records": sum(len(g.rows) for g in several),
        "largest_group": largest,
        "examples": [
            {"records": len(g.rows), "prompts": [texts[i] for i in g.ids[:EXAMPLE_PROMPTS]]} for g in several[:EXAMPLES]
        ],
    }


def describe(table, rows_total, largest):
    """The table and what is remarkable, as lines for people."""
    names = [name for name in CELLS if any(name in row for row in table.values())]
    lines = [f"  {'groups (target)':<16}" + "".join(f"{name:>18}" for name in names)]
    for category, row in table.items():
        cells = "".join(f"{row[name]['groups']:>9} ({row[name]['target']:>6g})" for name in names)
        lines.append(f"  {category:<16}{cells}")
        sft = [row[name] for name in names if name.startswith("sft")]
        if sum(cell["groups"] for cell in sft) <= sum(cell["target"] for cell in sft) - 1:
            what = "too few prompts with an answer for the share of step 1; the other steps got more"
            lines.append(f"WARNING: {category}: {what}")
    lines += [
        f"WARNING: {name}.jsonl is empty: too few groups for its share"
        for name in names
        if not any(row[name]["records"] for row in table.values())
    ]
    if largest > max(10, rows_total / 20):
        lines.append(
            f"WARNING: one group of near-duplicate prompts holds {largest} of {rows_total} records; if they share "
            "no more than a frame, raise --threshold"
        )
    return lines

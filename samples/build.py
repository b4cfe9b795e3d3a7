"""Rebuild the sample corpus: `python samples/build.py` writes samples/*.jsonl from handwritten/*.jsonl.

The output is the same byte for byte every time. Nothing is learnt here, no model is looked at and nothing is chosen by
how it looks: records are dealt to the steps by a hash of their prompts, the dev and held-out sets are whole files. Left
out: dev and held-out answers are not kept apart by step (the three files of each share prompts); training prompts are.
"""

import argparse
import hashlib
import itertools
import json
import random
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas

from korlhf.data.near_duplicates import groups
from korlhf.korean.trivial_rules import best_trivial_rules

HERE = Path(__file__).resolve().parent
CATEGORIES = ("everyday", "harmful", "lookalike", "translated", "evol")
MANNERS = ("best", "middle", "worst")
SHARES = {"reward": 0.52, "sft": 0.26, "prompts": 0.22}  # of the training records of a category
SFT_CHANCES = (1.0, 0.71, 0.59)  # that best, middle, worst become a training example of step 1
SFT_MIX = (0.45, 0.3, 0.25)  # what that comes to; a dev or held-out record gives one example, drawn so
SINGLE_PAIR_SHARE = 0.125  # of the training rankings: one chosen/rejected pair instead of a ranking of three
HELDOUT_PROMPTS = 60  # a category; they are answered several times in a run of step 3
NEAR = 0.5  # prompts so alike (Jaccard of their 3-grams) may stand in no two records


@dataclass(frozen=True)
class Record:
    """One conversation that ends with a user's turn, and its three answers, best first."""

    category: str
    topic: str
    turns: tuple[str, ...]  # user, assistant, ..., user
    answers: tuple[str, ...]

    @property
    def said(self) -> str:
        """What the user said, a line a turn: it tells records apart."""
        return "\n".join(self.turns[::2])

    @property
    def prompt(self) -> dict:
        """The prompt's column of a row."""
        if len(self.turns) == 1:
            return {"prompt": self.turns[0]}
        roles = itertools.cycle(("user", "assistant"))
        return {"messages": [{"role": role, "content": turn} for role, turn in zip(roles, self.turns)]}

    def row(self, *texts: str, **columns: object) -> dict:
        """A row with this prompt; its id is 12 hex digits of the SHA-1 of the prompt and `texts`."""
        identity = hashlib.sha1("\n".join([*self.turns, *texts]).encode("utf-8")).hexdigest()[:12]
        return {"id": identity, "category": self.category, "topic": self.topic, **self.prompt, **columns}


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def normalise(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def order_key(text: str) -> str:
    """Return a key that orders texts as if shuffled, the same way everywhere and whatever else is in the list."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def turns_of(row: dict) -> tuple[str, ...]:
    said = [message["content"] for message in row["messages"]] if "messages" in row else [row["prompt"]]
    return tuple(map(normalise, said))


def read_records(part: str) -> list[Record]:
    """Return the records of handwritten/`part`CATEGORY*.jsonl, part "", "dev_" or "heldout_"."""
    return [
        Record(category, row["topic"], turns_of(row), tuple(normalise(row[manner]) for manner in MANNERS))
        for category in CATEGORIES
        for path in sorted((HERE / "handwritten").glob(f"{part}{category}*.jsonl"))
        for row in read_jsonl(path)
    ]


def by_category(records: list[Record], salt: str = "") -> list[list[Record]]:
    """Return the records of each category, shuffled."""
    return [
        sorted((r for r in records if r.category == category), key=lambda record: order_key(salt + record.said))
        for category in CATEGORIES
    ]


def deal(records: list[Record]) -> dict[str, list[Record]]:
    """Deal the records of each category to the steps, in their SHARES."""
    dealt = {step: [] for step in SHARES}
    bounds = [*itertools.accumulate(SHARES.values(), initial=0)]
    for mine in by_category(records):
        for step, start, end in zip(SHARES, bounds, bounds[1:]):
            dealt[step] += mine[round(start * len(mine)) : round(end * len(mine))]
    return dealt


def sft_rows(records: list[Record], training: bool) -> list[dict]:
    """Return one to three examples a training record, one of each other; not of best answers alone, as in real talk."""
    rows = []
    for record in records:
        rng = random.Random("sft " + record.said)
        drawn = [number for number, chance in enumerate(SFT_CHANCES) if rng.random() < chance]
        for number in drawn if training else rng.choices(range(3), SFT_MIX):
            answer = record.answers[number]
            rows.append(record.row(answer, style=MANNERS[number], output=answer))
    return rows


def dialogue_rows() -> list[dict]:
    """Return the dialogues of multiturn.jsonl, which have one answer each, as examples of step 1."""
    styles, rows = dict(zip(("warm", "curt", "rude"), MANNERS)), []
    for row in read_jsonl(HERE / "handwritten" / "multiturn.jsonl"):
        *turns, answer = turns_of(row)
        record = Record("everyday", row["topic"], tuple(turns), ())
        rows.append(record.row(answer, style=styles[row["style"]], output=answer))
    return rows


def reward_rows(records: list[Record], training: bool) -> list[dict]:
    """Return a ranking of every record; of some training records a pair, as many published sets have."""
    rows = []
    for record in records:
        rng = random.Random("reward " + record.said)
        columns: dict = {"answers": list(record.answers)}
        if training and rng.random() < SINGLE_PAIR_SHARE:
            columns = dict(zip(("chosen", "rejected"), rng.choice([*itertools.combinations(record.answers, 2)])))
        rows.append(record.row(*record.answers, **columns))
    return rows


def text_rows(records: list[Record], dialogues: list[dict]) -> list[dict]:
    """Return every training dialogue as running text; of a prompt's three answers each makes a document of its own."""
    texts = ["\n".join([*record.turns, answer]) for record in records for answer in record.answers]
    texts += ["\n".join([*turns_of(row), row["output"]]) for row in dialogues]
    return [{"text": text} for text in dict.fromkeys(texts)]


def check_apart(records: list[Record]) -> None:
    """Raise ValueError if two records have nearly the same prompt, be it in training, dev or held out."""
    alike = defaultdict(list)
    for group, record in zip(groups([record.said for record in records], NEAR), records):
        alike[group].append(record.said)
    if repeated := [said for said in alike.values() if len(said) > 1]:
        raise ValueError(f"prompts nearly the same, leave all but one of each out of handwritten/: {repeated}")


def pairs_of(rows: list[dict]) -> list[tuple[str, str, str]]:
    """Return the (last user's turn, chosen, rejected) pairs of reward rows; a ranking of three gives three."""
    answers = [(turns_of(row)[-1], row.get("answers") or [row["chosen"], row["rejected"]]) for row in rows]
    return [(prompt, *pair) for prompt, ranked in answers for pair in itertools.combinations(ranked, 2)]


def build() -> dict[str, list[dict]]:
    """Return file stem -> rows, in the order in which they are written."""
    records, dialogues = read_records(""), dialogue_rows()
    parts = {"dev": read_records("dev_"), "heldout": read_records("heldout_")}
    check_apart([*records, *parts["dev"], *parts["heldout"]])
    dealt = deal(records)
    files = {
        "text": text_rows(records, dialogues),
        "sft": sft_rows(dealt["sft"], True) + dialogues,
        "reward": reward_rows(dealt["reward"], True),
        "prompts": [record.row() for record in dealt["prompts"]],
    }
    for part, mine in parts.items():
        prompts = [record for some in by_category(mine, "prompts ") for record in some[:HELDOUT_PROMPTS]]
        files[f"{part}_sft"] = sft_rows(mine, False)
        files[f"{part}_reward"] = reward_rows(mine, False)
        files[f"{part}_prompts"] = [record.row() for record in prompts]
    return {stem: sorted(rows, key=lambda row: order_key(row.get("id") or row["text"])) for stem, rows in files.items()}


def rule_table(files: dict[str, list[dict]]) -> pandas.DataFrame:
    """Return the accuracy of each trivial rule, chosen on the training pairs, on each set and held-out category."""
    heldout = files["heldout_reward"]
    rows = {"training": files["reward"], "dev": files["dev_reward"], "heldout": heldout}
    rows |= {category: [row for row in heldout if row["category"] == category] for category in CATEGORIES}
    train = pairs_of(files["reward"])
    return pandas.DataFrame({name: best_trivial_rules(train, pairs_of(some)) for name, some in rows.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the sample corpus from handwritten/.")
    parser.add_argument("--output_dir", type=Path, default=HERE, help="folder of the JSONL files")
    folder = parser.parse_args().output_dir
    folder.mkdir(parents=True, exist_ok=True)
    files = build()
    for stem, rows in files.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{stem}.jsonl").write_text(text, encoding="utf-8", newline="\n")
        print(f"{stem + '.jsonl':24}{len(rows):6} rows")
    print("\nTrivial rules, chosen on the training pairs, on all pairs of each set (a tie counts one half):")
    print(rule_table(files).sort_values("heldout", ascending=False).round(3).to_string())


if __name__ == "__main__":
    main()

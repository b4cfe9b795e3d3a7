"""Rebuild the sample corpus: `python samples/build.py` writes samples/*.jsonl from handwritten/*.jsonl and
grammar/*.json.

The output is the same byte for byte every time. Nothing is learnt here and no model is looked at: the held-out pairs
are chosen so that no trivial rule (korlhf/korean/trivial_rules.py) tells the better answer, and that table is printed
at the end. Left out: held-out answers are not kept apart by step (the three held-out files may share prompts); training
prompts are.
"""

import argparse
import hashlib
import itertools
import json
import random
import unicodedata
from pathlib import Path

import pandas
from balance import choose_pairs, ranked_pairs
from compose import CATEGORIES, MANNERS, Record, compose_all, fillers_of, load_grammar

from korlhf.korean.trivial_rules import best_trivial_rules

HERE = Path(__file__).resolve().parent
HANDWRITTEN = {
    "everyday": ("everyday_1", "everyday_2", "everyday_3"),
    "harmful": ("harmful",),
    "lookalike": ("lookalike",),
    "translated": ("translated",),
    "evol": ("evol",),
}
STEPS = ("reward", "sft", "prompts")
# of the groups of a category, in the order of STEPS
SHARES = {"handwritten": (0.72, 0.16, 0.12), "grammar": (0.34, 0.38, 0.28)}
# that best, middle, worst become an example
SFT_CHANCES = {"handwritten": (1.0, 0.71, 0.59), "grammar": (0.78, 0.53, 0.43)}
SINGLE_PAIR_SHARE = 0.125  # of the reward records: one chosen/rejected pair instead of a ranking of three
HELDOUT_PAIRS, HELDOUT_HANDWRITTEN = 100, 60  # a category, and how many of them are handwritten
HELDOUT_PROMPTS, HELDOUT_SFT = 60, 60  # a category; half handwritten, half from the grammar


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def normalise(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def stable_id(*texts: str) -> str:
    """Return 12 hex digits of the SHA-1 of the normalised texts."""
    return hashlib.sha1("\n".join(normalise(text) for text in texts).encode("utf-8")).hexdigest()[:12]


def order_key(text: str) -> str:
    """Return a key that orders texts as if shuffled, the same way everywhere and whatever else is in the list."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def read_records(folder: Path, names: dict[str, tuple[str, ...]]) -> list[Record]:
    """Return the records of handwritten files; names: category -> their stems."""
    return [
        Record(
            category, row["topic"], normalise(row["prompt"]), tuple(normalise(row[m]) for m in MANNERS), row["prompt"]
        )
        for category, stems in names.items()
        for stem in stems
        for row in read_jsonl(folder / f"{stem}.jsonl")
    ]


def deal(records: list[Record], shares: tuple[float, ...]) -> dict[str, list[Record]]:
    """Deal the groups of each category to STEPS in the given shares; near-duplicates stay together."""
    dealt = {step: [] for step in STEPS}
    for category in CATEGORIES:
        groups = sorted({record.group for record in records if record.category == category}, key=order_key)
        bounds = [round(sum(shares[:count]) * len(groups)) for count in range(len(STEPS) + 1)]
        for index, step in enumerate(STEPS):
            mine = set(groups[bounds[index] : bounds[index + 1]])
            dealt[step] += [record for record in records if record.category == category and record.group in mine]
    return dealt


def without_repeats(*sources: list[Record]) -> list[list[Record]]:
    """Keep of all records the first of each prompt."""
    seen: dict[str, Record] = {}
    for record in itertools.chain(*sources):
        seen.setdefault(normalise(record.prompt), record)
    first = set(map(id, seen.values()))
    return [[record for record in source if id(record) in first] for source in sources]


def head(record: Record, *texts: str) -> dict:
    """Return the fields that every row begins with; the id is that of `texts`."""
    return {"id": stable_id(*texts), "category": record.category, "topic": record.topic}


def sft_examples(records: list[Record], chances: tuple[float, ...]) -> list[dict]:
    """Return one to three examples per record, manners drawn by `chances`: a base learns real talk, too."""
    examples = []
    for record in records:
        rng = random.Random("sft " + record.prompt)
        drawn = [number for number, chance in enumerate(chances) if rng.random() < chance] or [rng.choice((0, 0, 1, 2))]
        examples += [
            {
                **head(record, record.prompt, record.answers[number]),
                "style": MANNERS[number],
                "prompt": record.prompt,
                "output": record.answers[number],
            }
            for number in drawn
        ]
    return examples


def multiturn_examples(folder: Path) -> list[dict]:
    styles = dict(zip(("warm", "curt", "rude"), MANNERS, strict=True))
    examples = []
    for row in read_jsonl(folder / "multiturn.jsonl"):
        *messages, last = row["messages"]
        identity = stable_id(*(message["content"] for message in row["messages"]))
        kind = {"category": "everyday", "topic": row["topic"], "style": styles[row["style"]]}
        examples.append({"id": identity, **kind, "messages": messages, "output": last["content"]})
    return examples


def reward_rows(records: list[Record]) -> list[dict]:
    rows = []
    for record in records:
        rng = random.Random("reward " + record.prompt)
        answers = {"answers": list(record.answers)}
        if rng.random() < SINGLE_PAIR_SHARE:
            answers = dict(zip(("chosen", "rejected"), rng.choice(ranked_pairs(record))[1:]))
        rows.append({**head(record, record.prompt, *record.answers), "prompt": record.prompt, **answers})
    return rows


def pairs_of(rows: list[dict]) -> list[tuple[str, str, str]]:
    """Return the (prompt, chosen, rejected) pairs of reward rows; a ranking of three gives three."""
    answers = [(row["prompt"], row.get("answers") or [row["chosen"], row["rejected"]]) for row in rows]
    return [(prompt, *pair) for prompt, ranked in answers for pair in itertools.combinations(ranked, 2)]


def prompt_rows(records: list[Record]) -> list[dict]:
    return [{**head(record, record.prompt), "prompt": record.prompt} for record in records]


def text_rows(dealt: dict[str, list[Record]], dialogues: list[dict]) -> list[dict]:
    """Return every training dialogue as running text; of a prompt's three answers each makes a document of its own."""
    texts = [f"{record.prompt}\n{answer}" for step in STEPS for record in dealt[step] for answer in record.answers]
    texts += ["\n".join([*(message["content"] for message in row["messages"]), row["output"]]) for row in dialogues]
    return [{"text": text} for text in dict.fromkeys(texts)]


def pick(handwritten: list[Record], composed: list[Record], count: int, salt: str) -> list[Record]:
    """Return `count` records a category, half handwritten and half composed."""
    picked = []
    for category in CATEGORIES:
        for source, share in ((handwritten, count // 2), (composed, count - count // 2)):
            mine = (record for record in source if record.category == category)
            picked += sorted(mine, key=lambda record: order_key(salt + record.prompt))[:share]
    return picked


def check_heldout(training: dict[str, list[dict]], heldout: list[Record]) -> None:
    """Raise ValueError if a held-out topic, prompt or filler of the grammar occurs in the training rows."""
    rows = [row for name in training for row in training[name]]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    topics, prompts = {row.get("topic") for row in rows}, {normalise(row.get("prompt", "")) for row in rows}
    frames = [frame for frames in load_grammar(HERE / "grammar")[1].values() for frame in frames]
    fillers = [word for frame in frames for filler in fillers_of(frame, "heldout") for word in filler if word]
    leaks = sorted({record.topic for record in heldout} & topics)
    leaks += sorted({normalise(record.prompt) for record in heldout} & prompts)
    leaks += [word for word in fillers if word in text]
    if leaks:
        raise ValueError(f"held-out material occurs in training files, change it in handwritten/ or grammar/: {leaks}")


def shuffled(rows: list[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: order_key(row.get("id") or row["text"]))


def build_training() -> dict[str, list[dict]]:
    folder = HERE / "handwritten"
    handwritten, composed = without_repeats(read_records(folder, HANDWRITTEN), compose_all(HERE / "grammar", "train"))
    by_hand, by_grammar = deal(handwritten, SHARES["handwritten"]), deal(composed, SHARES["grammar"])
    dealt = {step: by_hand[step] + by_grammar[step] for step in STEPS}
    dialogues = multiturn_examples(folder)
    sft = sft_examples(by_hand["sft"], SFT_CHANCES["handwritten"])
    sft += sft_examples(by_grammar["sft"], SFT_CHANCES["grammar"])
    return {
        "sft": sft + dialogues,
        "reward": reward_rows(dealt["reward"]),
        "prompts": prompt_rows(dealt["prompts"]),
        "text": text_rows(dealt, dialogues),
    }


def build_heldout(reward: list[dict]) -> tuple[dict[str, list[dict]], list[Record]]:
    """Return the held-out rows by file stem, and all held-out records; `reward` (training rows) orients the rules."""
    names = {category: (f"heldout_{category}",) for category in CATEGORIES}
    by_hand = read_records(HERE / "handwritten", names)
    handwritten, composed = without_repeats(by_hand, compose_all(HERE / "grammar", "heldout"))
    pairs = choose_pairs(handwritten, composed, pairs_of(reward), HELDOUT_PAIRS, HELDOUT_HANDWRITTEN)
    rows = [
        {**head(record, *pair), **dict(zip(("prompt", "chosen", "rejected"), pair, strict=True))}
        for record, pair in pairs
    ]
    sft = sft_examples(pick(handwritten, composed, HELDOUT_SFT, "sft "), (0.45, 0.3, 0.25))
    prompts = prompt_rows(pick(handwritten, composed, HELDOUT_PROMPTS, "prompts "))
    return {"heldout_sft": sft, "heldout_reward": rows, "heldout_prompts": prompts}, handwritten + composed


def build() -> dict[str, list[dict]]:
    """Return file stem -> rows, in the order in which they are written."""
    training = build_training()
    heldout, records = build_heldout(training["reward"])
    check_heldout(training, records)
    return {stem: shuffled(rows) for stem, rows in {**training, **heldout}.items()}


def write(files: dict[str, list[dict]], folder: Path) -> None:
    for stem, rows in files.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{stem}.jsonl").write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the sample corpus from handwritten/ and grammar/.")
    parser.add_argument("--output_dir", type=Path, default=HERE, help="folder of the JSONL files")
    folder = parser.parse_args().output_dir
    folder.mkdir(parents=True, exist_ok=True)
    files = build()
    write(files, folder)
    for stem, rows in files.items():
        print(f"{stem + '.jsonl':24}{len(rows):6} rows")
    train, test = pairs_of(files["reward"]), pairs_of(files["heldout_reward"])
    about = f"chosen on {len(train)} training pairs, on {len(test)} held-out pairs (a tie counts one half)"
    print(f"\nTrivial rules, {about}:")
    of_category = {c: [row for row in files["heldout_reward"] if row["category"] == c] for c in CATEGORIES}
    tests = {"train": train, "all": test, **{c: pairs_of(rows) for c, rows in of_category.items()}}
    table = pandas.DataFrame({name: best_trivial_rules(train, pairs) for name, pairs in tests.items()})
    print(table.sort_values("all", ascending=False).round(3).to_string())


if __name__ == "__main__":
    main()

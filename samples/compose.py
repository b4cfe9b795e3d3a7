"""The slot grammar behind half of the sample corpus: frames, fillers and phrases in grammar/*.json -> ranked answers.

A frame is a situation: prompts and, for each of the three manners (best, middle, worst), content sentences with slots.
`{x}` is the filler, `{f}` the fact that belongs to it; `{x:을}` adds the particle in the form the final consonant asks
for. An answer is an opening phrase, a content sentence and a closing phrase, or fewer of them. Which answer of a
ranking is the longest, and how sentences end, is drawn without regard to the manner, so that neither gives the ranking
away.
"""

import itertools
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

MANNERS = ("best", "middle", "worst")
CATEGORIES = ("everyday", "harmful", "lookalike", "translated", "evol")
LENGTH_ORDERS = tuple(itertools.permutations(range(3)))  # the length rank (0 shortest) of best, middle, worst
LAST_MARKS = (".",) * 15 + ("!",) * 2 + ("~",) * 2 + ("...",)
SHARE_WITHOUT_CONTENT = 0.1  # of answers of two sentences: opening and closing only; never to a question
RETRIES = 200

# particle as written in the grammar, which is the form after a final consonant -> the form after a vowel
PARTICLES = json.loads(Path(__file__).with_name("grammar").joinpath("particles.json").read_text(encoding="utf-8"))
SLOT = re.compile(r"\{([xf])(?::([가-힣]+))?\}")
DIGIT_FINALS = dict(zip("0123456789", (21, 8, 0, 16, 0, 0, 1, 8, 8, 0)))  # final consonants of 영, 일, 이, ...
RIEUL = 8


@dataclass(frozen=True)
class Record:
    """One prompt with its three answers, best first, as in the handwritten files."""

    category: str
    topic: str
    prompt: str
    answers: tuple[str, str, str]
    group: str = ""  # records of one group are near-duplicates of each other: they go to the same step


def final_consonant(word: str) -> int:
    """Return the index (0: none) of the final consonant of a Hangul syllable or digit; ValueError for other ends."""
    last = word[-1]
    if last in DIGIT_FINALS:
        return DIGIT_FINALS[last]
    if not "가" <= last <= "힣":
        raise ValueError(f"{word!r} ends in neither a Hangul syllable nor a digit: its particle is unknown")
    return (ord(last) - ord("가")) % 28


def with_particle(word: str, particle: str) -> str:
    """Append a particle, named by its form after a consonant (을, 이, 은, 과, ...); ValueError if it is unknown."""
    if particle not in PARTICLES:
        raise ValueError(f"particle {particle!r} is not in the table")
    if PARTICLES[particle] == particle:
        return word + particle
    final = final_consonant(word)
    closed = final != 0 and not (particle == "으로" and final == RIEUL)
    return word + (particle if closed else PARTICLES[particle])


def fill(text: str, filler: list[str]) -> str:
    """Replace the slots of one sentence by the filler [word, fact] and the right particles."""
    for match in reversed(list(SLOT.finditer(text))):  # from the end, so that the places still to come stay valid
        word = filler["xf".index(match[1])]
        word = with_particle(word, match[2]) if match[2] else word
        text = text[: match.start()] + word + text[match.end() :]
    return text


def load_grammar(folder: Path) -> tuple[dict, dict]:
    """Return (phrases by mood, frames by category); a category's own phrases join the shared ones."""
    phrases = json.loads((folder / "phrases.json").read_text(encoding="utf-8"))
    frames = {}
    for category in CATEGORIES:
        grammar = json.loads((folder / f"{category}.json").read_text(encoding="utf-8"))
        phrases.update(grammar.get("phrases", {}))
        frames[category] = grammar["frames"]
    return phrases, frames


def fillers_of(frame: dict, split: str) -> list[list[str]]:
    """Return the fillers of a frame as [word, fact] lists; the fact is "" where the frame has none."""
    return [filler if isinstance(filler, list) else [filler, ""] for filler in frame["fillers"][split]]


def inventory(phrases: dict, frame: dict, manner: str, rng: random.Random) -> tuple[list[str], list[str], list[str]]:
    """Return the (openings, contents, closings) of one manner; a worst answer is polite in form or 반말, by chance."""
    if manner != "worst":
        tone = "warm" if manner == "best" else "cold"
        return phrases[frame["mood"]][tone]["open"], frame[tone], phrases[frame["mood"]][tone]["close"]
    level = "polite" if rng.random() < 0.6 else "casual"
    rude = phrases[frame.get("rude_mood", frame["mood"])]["rude"]
    return rude[f"open_{level}"], frame[f"rude_{level}"], rude[f"close_{level}"]


def punctuate(sentences: list[str], rng: random.Random) -> str:
    """Join sentences; the last gets a mark of LAST_MARKS, the others a period; a question keeps its own."""
    marks = [*["."] * (len(sentences) - 1), "" if sentences[-1].endswith("?") else rng.choice(LAST_MARKS)]
    return " ".join(text + ("" if text.endswith("?") else mark) for text, mark in zip(sentences, marks))


def compose_answer(phrases: dict, frame: dict, filler: list[str], manner: str, size: int, rng: random.Random) -> str:
    """Return one answer of `size` + 1 sentences (size 0, 1 or 2)."""
    opens, contents, closes = inventory(phrases, frame, manner, rng)
    opening, content, closing = rng.choice(opens), fill(rng.choice(contents), filler), rng.choice(closes)
    sentences = [opening, content, closing] if size else [content]
    if size == 1 and frame["mood"] != "ask" and rng.random() < SHARE_WITHOUT_CONTENT:
        sentences = [opening, closing]
    elif size == 1:
        sentences = rng.choice([[opening, content], [content, closing]])
    return punctuate(sentences, rng)


def compose_ranking(
    phrases: dict, frame: dict, filler: list[str], order: tuple[int, ...], rng: random.Random
) -> tuple[str, ...]:
    """Return answers whose lengths rank as `order` says; ValueError if none is found in RETRIES draws."""
    for _ in range(RETRIES):
        answers = tuple(
            compose_answer(phrases, frame, filler, manner, size, rng)
            for manner, size in zip(MANNERS, order, strict=True)
        )
        by_length = [answers[order.index(rank)] for rank in range(3)]
        if len(by_length[0]) < len(by_length[1]) < len(by_length[2]):
            return answers
    raise ValueError(
        f"no answers of length order {order} for {filler[0]!r}: the frame's sentences are too alike in length"
    )


def compose_all(folder: Path, split: str) -> list[Record]:
    """Return every prompt of the grammar of `split` ("train" or "heldout") with a ranking of three answers."""
    phrases, frames = load_grammar(folder)
    records = []
    for category in CATEGORIES:
        for number, frame in enumerate(frames[category]):
            for filler in fillers_of(frame, split):
                group = f"{category}/{number}/{filler[0]}"
                rng = random.Random(group)
                orders = list(LENGTH_ORDERS)
                rng.shuffle(orders)
                for prompt, order in zip(frame["prompts"], itertools.cycle(orders)):
                    answers = compose_ranking(phrases, frame, filler, order, rng)
                    records.append(Record(category, frame["topics"][split], fill(prompt, filler), answers, group))
    return records

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from scipy.stats.contingency import relative_risk

from korlhf.korean.friendly import manners, shares
from korlhf.korean.speech_level import SENTENCES, last_word, polite_word
from korlhf.korean.trivial_rules import best_trivial_rules
from samples import build

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
STEPS = ("sft", "reward", "prompts")
PARTS = {"training": "", "dev": "dev_", "heldout": "heldout_"}
HELPLINES = {"109", "112", "117", "119", "1366", "1388", "1577-0199"}  # suicide, police, school violence, fire, ...
QUOTED = re.compile(r'"[^"]*"|“[^”]*”|\'[^\']*\'|‘[^’]*’')
MARKS = {  # what a policy can learn to type for its own sake, if a reward model takes it for kindness
    "quotation": r"[\"'“”‘’]",
    "quotation in front": r"^[\"'“”‘’]",
    "?": r"\?",
    "? at the end": r"\?$",
    "!": "!",
    "! at the end": "!$",
    "~": "~",
    "...": r"\.\.\.|…",
    ",": ",",
    "figure": r"\d",
    "Latin letter": "[A-Za-z]",
    "emoji": "[\U0001f000-\U0001ffff\u2600-\u27ff♡♥]",
    "ㅋㅋ, ㅠㅠ": "[ㄱ-ㅎㅏ-ㅣ]",
    "bracket": r"[(\[]",
    "no mark at the end": r"[^.?!~…]$",
}
# Good advice names amounts, times and, after harmful wishes, helplines; and programs and keys by their English names.
NATURAL = {"figure": 3.0, "Latin letter": 3.0}


def read(stem):
    return [json.loads(line) for line in (SAMPLES / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines()]


def turns(row):
    return tuple(m["content"] for m in row["messages"]) if "messages" in row else (row["prompt"],)


def written(part):
    """(turns, best, middle, worst) of the handwritten records of a part, white space as in the built files."""
    rows = [
        json.loads(line)
        for category in ("everyday", "harmful", "lookalike", "translated", "evol")
        for path in sorted((SAMPLES / "handwritten").glob(f"{PARTS[part]}{category}*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    squeeze = lambda text: " ".join(text.split())  # noqa: E731
    return [
        (tuple(map(squeeze, turns(row))), *(squeeze(row[manner]) for manner in ("best", "middle", "worst")))
        for row in rows
    ]


@pytest.fixture(scope="module", params=PARTS)
def records(request):
    return written(request.param)


def pairs(rows):
    found = []
    for row in rows:
        answers = row.get("answers") or [row["chosen"], row["rejected"]]
        found += [(turns(row)[-1], a, b) for number, a in enumerate(answers) for b in answers[number + 1 :]]
    return found


def test_build_rewrites_the_committed_files_byte_for_byte(tmp_path):
    # another hash seed: no order may come from a set
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(SAMPLES.parent)}
    done = subprocess.run(
        [sys.executable, str(SAMPLES / "build.py"), "--output_dir", str(tmp_path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "polite ending" in done.stdout
    stems = ["text", *(f"{prefix}{step}" for prefix in PARTS.values() for step in STEPS)]
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(stems)
    for stem in stems:
        assert (tmp_path / f"{stem}.jsonl").read_bytes() == (SAMPLES / f"{stem}.jsonl").read_bytes(), stem


def test_a_training_prompt_belongs_to_one_step():
    first = {stem: {turns(row) for row in read(stem)} for stem in STEPS}
    for a, b in (("sft", "reward"), ("sft", "prompts"), ("reward", "prompts")):
        assert not first[a] & first[b], (a, b)


def test_dev_and_heldout_prompts_are_not_in_training():
    text = "\n".join((SAMPLES / f"{stem}.jsonl").read_text(encoding="utf-8") for stem in (*STEPS, "text"))
    for part in ("dev", "heldout"):
        opening = {turns(row)[0] for step in STEPS for row in read(f"{part}_{step}")}
        assert len(opening) > 190 and not [prompt for prompt in opening if f'"{prompt}' in text]
    assert not {t for t, *_ in written("dev")} & {t for t, *_ in written("heldout")}


def test_a_prompt_that_differs_by_a_word_is_refused():
    def record(*said):
        return build.Record("everyday", "비", said, ("가", "나", "다"))

    far = [record("비 오는 날 들을 노래 있을까요"), record("내일 비가 온다는데 우산이 없어요")]
    build.check_apart(far)
    with pytest.raises(ValueError, match="비 오는 날 들을 노래 있을까요', '비 오는 날 들을 노래 있나요"):
        build.check_apart([*far, record("비 오는 날 들을 노래 있나요")])


@pytest.mark.parametrize("part", ["dev", "heldout"])
def test_every_dev_and_heldout_ranking_is_there(part):
    rows = read(f"{part}_reward")
    assert Counter((turns(row), *row["answers"]) for row in rows) == Counter(written(part))
    assert len(rows) == {"dev": 198, "heldout": 623}[part]


def test_every_set_has_conversations_of_several_turns():
    for stem in (f"{prefix}{step}" for prefix in PARTS.values() for step in STEPS):
        rows = read(stem)
        several = sum("messages" in row for row in rows) / len(rows)
        assert 0.1 < several < 0.4, (stem, several)
        assert all(row["messages"][-1]["role"] == "user" for row in rows if "messages" in row)


def test_no_trivial_rule_tells_much_of_the_unpicked_pairs():
    train = pairs(read("reward"))
    for part in ("dev", "heldout"):
        rows = read(f"{part}_reward")
        assert max(best_trivial_rules(train, pairs(rows)).values()) < 0.66
        for category in build.CATEGORIES:
            table = best_trivial_rules(train, pairs([row for row in rows if row["category"] == category]))
            assert max(table.values()) < 0.72, (part, category, table)


def test_no_formula_opens_or_closes_many_of_the_best_answers(records):
    bare = [re.sub(r"[\s.!?~…]+$", "", best) for _, best, *_ in records]
    for formulas in (
        Counter(best.split()[0] for best in bare),
        Counter(best[:6] for best in bare),
        Counter(best[-8:] for best in bare),
        Counter(" ".join(best.split()[-2:]) for best in bare),
    ):
        formula, count = formulas.most_common(1)[0]
        assert count <= 0.05 * len(bare), (formula, count, len(bare))


def test_no_mark_tells_best_answers_from_worst(records):
    n = len(records)
    for name, mark in MARKS.items():
        best, middle, worst = (sum(bool(re.search(mark, record[place])) for record in records) for place in (1, 2, 3))
        if name == "quotation":
            assert best <= 1.5 * min(middle, worst), (name, best, middle, worst)
        elif best > 0.01 * n:
            low = relative_risk(best, n, worst, n).confidence_interval().low  # a chance excess in a small set passes
            assert low <= NATURAL.get(name, 1.5), (name, best, worst, low)


def speech_levels(answer):
    """합니다체 or 해요체 of each sentence that shows one; what is quoted is somebody else's, -답니다 goes with both."""
    ends = [last_word(sentence) for sentence in SENTENCES.findall(QUOTED.sub("", answer))]
    polite = [end for end in ends if polite_word(end) and not end.endswith(("답니다", "랍니다"))]
    return ["합니다체" if end.endswith(("니다", "니까", "시오")) else "해요체" for end in polite]


def test_no_best_answer_mixes_speech_levels(records):
    assert speech_levels("좋아요. 내일 뵙겠습니다.") == ["해요체", "합니다체"]
    assert not [best for _, best, *_ in records if len(set(speech_levels(best))) > 1]
    assert sum(bool(speech_levels(best)) for _, best, *_ in records) > 0.8 * len(records)


def test_only_helplines_that_are_sure_to_exist_are_named(records):
    number = re.compile(
        r"(?<![\d.,])(?:1\d{2,3}-\d{4}|1\d{2,3})(?=번?(?:으?로|에|이?에요|예요|이|가|나|를|을|은|는)\b)"
    )
    assert number.findall("1336에 전화하거나 1577-1000으로 물어봐요, 100에 하나예요.") == ["1336", "1577-1000", "100"]
    named = Counter(n for record in records for answer in record[1:] for n in number.findall(answer))
    assert "109" in named and not set(named) - HELPLINES - {"1234"}, named  # the password that everybody guesses


def test_friendly_agrees_with_the_handwritten_manners():
    everything = [record for part in PARTS for record in written(part)]
    best, worst = (shares(manners([record[place] for record in everything])) for place in (1, 3))
    assert best["friendly"] >= 0.95, best
    # Its words were not made on these: what is left are harmful answers in a kind tone, and sarcasm.
    assert worst["friendly"] <= best["friendly"] - 0.2, worst
    assert min(best["sense"], worst["sense"]) >= 0.97, (best, worst)

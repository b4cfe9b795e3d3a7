"""The checks of answers against labels by another hand; their documented figures; their words and the corpus."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from statsmodels.stats.proportion import proportion_confint

from korlhf.korean import WORDS
from korlhf.korean.friendly import manners
from korlhf.korean.refusals import KINDS, MEASURED, OVER_REFUSALS, verdict

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
README = (SAMPLES / "README.md").read_text(encoding="utf-8")
CHECKS = ("friendly", "verdict")


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


ROWS = {"friendly": read(SAMPLES / "friendly_labels.jsonl"), "verdict": read(SAMPLES / "refusal_labels.jsonl")}


def half(check, split):
    return [row for row in ROWS[check] if row["split"] == split]


def said(check, rows):
    if check == "friendly":
        return [m.friendly for m in manners([row["answer"] for row in rows])]
    found = [verdict(row["prompt"], row["answer"], row["prompt_kind"])[0] for row in rows]
    helps = {("lookalike", "goes_along"): "helps"}
    return [helps.get((row["prompt_kind"], label), label) for row, label in zip(rows, found)]


def by_n_grams(check, rows):
    models = {}
    for kind in {row.get("prompt_kind") for row in rows}:
        dev = [row for row in half(check, "dev") if row.get("prompt_kind") == kind]
        models[kind] = make_pipeline(
            TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True),
            LogisticRegression(C=10, max_iter=1000, class_weight="balanced"),
        ).fit([row["answer"] for row in dev], [row[check] for row in dev])
    return [models[row.get("prompt_kind")].predict([row["answer"]])[0] for row in rows]


def shares(check, predicted, rows):
    """Row of the README's table -> (right, of)."""
    right = [p == row[check] for p, row in zip(predicted, rows)]
    groups = {"right": right}
    if check == "friendly":
        for name, wanted in (("friendly, found", True), ("not friendly, found", False)):
            groups[name] = [ok for ok, row in zip(right, rows) if row["friendly"] is wanted]
    for value in {row["kind" if check == "friendly" else "verdict"] for row in rows}:
        name = value if check == "friendly" else f"{value}, found"
        groups[name] = [ok for ok, row in zip(right, rows) if value in (row.get("kind"), row[check])]
    return {f"{name} (of {len(oks)})": (sum(oks), len(oks)) for name, oks in groups.items()}


def table(check):
    """{first cell: the other cells} of the README's table of a check."""
    lines = README.partition(f"| `{check}`, ")[2].partition("\n\n")[0].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)}


@pytest.mark.parametrize("check", CHECKS)
def test_the_documented_figures(check):
    rows = half(check, "test")
    documented, measured = table(check), shares(check, said(check, rows), rows)
    assert documented.keys() == measured.keys()
    for name, (right, of) in measured.items():
        low, high = proportion_confint(right, of, method="wilson")
        assert float(documented[name][1]) == pytest.approx(right / of, abs=6e-4), name
        assert documented[name][2] == f"{low:.3f} to {high:.3f}".replace("0.", "."), name


@pytest.mark.parametrize("check", CHECKS)
def test_the_documented_baselines(check):
    rows, documented = half(check, "test"), table(check)
    commonest = Counter(row[check] for row in half(check, "dev")).most_common(1)[0][0]
    for column, predicted in ((3, by_n_grams(check, rows)), (4, [commonest] * len(rows))):
        for name, (right, of) in shares(check, predicted, rows).items():
            assert float(documented[name][column]) == pytest.approx(right / of, abs=0.5 / of), (name, column)


@pytest.mark.parametrize("check, least", [("friendly", 0.894), ("verdict", 0.903)])  # measured: .924 and .933
def test_agreement_on_the_dev_half(check, least):
    rows = half(check, "dev")
    right, of = shares(check, said(check, rows), rows)[f"right (of {len(rows)})"]
    assert right / of >= least
    assert f"{right / of:.3f}".lstrip("0") in README


def test_the_figures_printed_next_to_the_rates():
    rows = half("verdict", "test")
    found = [verdict(row["prompt"], row["answer"], row["prompt_kind"])[0] for row in rows]
    measured = {"accuracy": shares("verdict", said("verdict", rows), rows)["right (of 164)"]}
    for kind, name, wanted in (
        ("harmful", "goes_along on harmful", ("goes_along",)),
        ("lookalike", "over-refusal of look-alikes", OVER_REFUSALS),
    ):
        pairs = [(p in wanted, row["verdict"] in wanted) for p, row in zip(found, rows) if row["prompt_kind"] == kind]
        hits = sum(claimed and meant for claimed, meant in pairs)
        measured[f"{name}, found"] = (hits, sum(meant for _, meant in pairs))
        measured[f"{name}, right"] = (hits, sum(claimed for claimed, _ in pairs))
    assert measured == MEASURED


def test_the_labels_are_of_the_kinds_there_are():
    assert Counter(row["split"] for row in ROWS["friendly"]) == {"dev": 197, "test": 198}
    assert Counter(row["split"] for row in ROWS["verdict"]) == {"dev": 164, "test": 164}
    assert {row["prompt_kind"] for row in ROWS["verdict"]} < set(KINDS)


# Single words of the dictionary that the worst answers of the corpus use too, as everybody does.
CONTEMPT = {
    "바보",
    "멍청",
    "멍청이",
    "멍청하",
    "한심",
    "한심하",
    "뻔뻔",
    "뻔뻔하",
    "꼴불견",
    "꼴좋",
    "못나",
    "감지덕지",
    "역겹",
    "염치없",
    "무식",
    "쓸모없",
}
ORDINARY = {*CONTEMPT, "때려치우", "유치원생", "초등학생", "그러니까", "아무래도", "아이디어"}


def literals(cues):
    return {word for cue in cues for word in re.findall("[가-힣]+", cue)}


@pytest.fixture(scope="module")
def worst():
    rows = [row for path in sorted((SAMPLES / "handwritten").glob("*.jsonl")) for row in read(path) if "worst" in row]
    assert len(rows) > 1000
    return "\n".join(row["worst"] for row in rows)


def test_no_phrase_of_the_checks_is_one_of_the_worst_answers(worst):
    lists = {name: WORDS[name] for name in ("cold", "refusal", "filler", "blame", "right", "along")}
    # Cues go by morphemes: none holds two words in a row as written, and a single word is no phrase of anybody's.
    assert not [cue for cues in lists.values() for cue in cues if re.search(r"[가-힣]{2,} [가-힣]{2,}", cue)]
    long = {word for cues in lists.values() for word in literals(cues) if len(word) >= 4}
    assert {word for word in long if word in worst} <= ORDINARY
    contempt = {word.partition("/")[0] for word in WORDS["contempt"].split()}
    assert max(map(len, contempt)) <= 4
    assert {word for word in contempt if len(word) > 1 and word in worst} <= ORDINARY

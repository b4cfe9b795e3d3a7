"""The labelled answers to the safety prompts; the figures told about the rule check must be those measured here."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from statsmodels.stats.proportion import proportion_confint

from korlhf.korean.refusals import LABELS, OVER_REFUSALS, verdict

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
README = (SAMPLES / "README.md").read_text(encoding="utf-8")
README_OF_IT = README.partition("`safety_answers.jsonl` is the older measure")[2]


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def rows():
    return read(SAMPLES / "safety_answers.jsonl")


@pytest.fixture(scope="module")
def test_rows(rows):
    return [row for row in rows if row["split"] == "test"]


@pytest.fixture(scope="module")
def said(test_rows):
    return [verdict(row["prompt"], row["answer"], row["kind"])[0] for row in test_rows]


@pytest.fixture(scope="module")
def by_n_grams(rows, test_rows):
    models = {}
    for kind in ("harmful", "lookalike"):
        dev = [row for row in rows if row["split"] == "dev" and row["kind"] == kind]
        models[kind] = make_pipeline(
            TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True),
            LogisticRegression(C=10, max_iter=1000, class_weight="balanced"),
        )
        models[kind].fit([row["answer"] for row in dev], [row["verdict"] for row in dev])
    return [models[row["kind"]].predict([row["answer"]])[0] for row in test_rows]


def table():
    """{first cell: the other cells} of the README's table."""
    lines = [
        line
        for line in README_OF_IT.splitlines()
        if re.match(r"\| (?:right|\w+, found|harmful prompts:|look-alikes:)", line)
    ]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)}


def shares(predicted, rows):
    """Row of the table -> (right, of)."""
    both = list(zip(predicted, rows))
    out = {"right": (sum(p == r["verdict"] for p, r in both), len(both))}
    for label in LABELS:
        meant = [p == label for p, r in both if r["verdict"] == label]
        out[f"{label}, found (of {len(meant)})"] = (sum(meant), len(meant))
    for kind, name, wanted in (
        ("harmful", "harmful prompts: {}goes_along", ("goes_along",)),
        ("lookalike", "look-alikes: {}over-refusal", OVER_REFUSALS),
    ):
        pairs = [(p in wanted, r["verdict"] in wanted) for p, r in both if r["kind"] == kind]
        hits, meant, claimed = sum(p and r for p, r in pairs), sum(r for _, r in pairs), sum(p for p, _ in pairs)
        out[f"{name.format('')} found (of {meant})"] = (hits, meant)
        out[f"{name.format('said ')}, rightly"] = (hits, claimed)
    return out


def test_the_halves_share_no_prompt_and_no_twin(rows):
    twins = {row["id"]: row["twin"] for row in read(SAMPLES / "safety.jsonl")}
    pairs = {
        split: {frozenset((row["id"], twins[row["id"]])) for row in rows if row["split"] == split}
        for split in ("dev", "test")
    }
    assert len(pairs["dev"]) == len(pairs["test"]) == 80 and not pairs["dev"] & pairs["test"]


def test_the_documented_figures_of_the_rule_check(test_rows, said):
    documented, measured = table(), shares(said, test_rows)
    assert documented.keys() == measured.keys()
    for name, (right, of) in measured.items():
        low, high = proportion_confint(right, of, method="wilson")
        assert documented[name][:2] == [
            f"{right / of:.3f}".lstrip("0"),
            f"{low:.3f} to {high:.3f}".replace("0.", "."),
        ], name


def test_the_documented_figures_of_the_baselines(rows, test_rows, by_n_grams):
    documented = table()
    for name, (right, of) in shares(by_n_grams, test_rows).items():
        assert float(documented[name][2]) == pytest.approx(right / of, abs=0.5 / of), name
    commonest = Counter(row["verdict"] for row in rows if row["split"] == "dev").most_common(1)[0][0]
    assert commonest == "goes_along" and documented["right"][3] == ".408"  # 129 of 316
    assert sum(row["verdict"] == commonest for row in test_rows) == 129


def test_the_documented_figures_of_dev_and_of_the_text_around_the_table(rows, test_rows):
    dev = [row for row in rows if row["split"] == "dev"]
    right = sum(verdict(row["prompt"], row["answer"], row["kind"])[0] == row["verdict"] for row in dev)
    assert f"right in {right / len(dev):.3f}".replace("0.", ".") in README_OF_IT.replace("\n", " ")
    no_cue = [
        verdict(row["prompt"], row["answer"], row["kind"]) == ("unclear", ("no cue",))
        for row in test_rows
        if row["kind"] == "harmful"
    ]
    assert f"{sum(no_cue)} of {len(no_cue)} answers" in README


def test_the_documented_figures_by_another_hand():
    flagged = Counter()
    for row in read(SAMPLES / "handwritten" / "heldout_lookalike.jsonl"):
        for rank in ("best", "middle", "worst"):
            flagged[rank] += verdict(row["prompt"], row[rank], "lookalike")[0] in OVER_REFUSALS
    assert (
        f"{flagged['worst']} of 65 wrong accusations" in README
        and f"blames {flagged['best'] + flagged['middle']} of the 130" in README
    )

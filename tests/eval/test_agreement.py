"""eval/agreement.py: kappa and tau-b of people and judge by hand and by other libraries, and the whole way from
chat_benchmark --talks over the labelling application to the table."""

import eval_harness
import label_harness
import numpy as np
import pytest
from eval_harness import table, write
from openai_server import Server
from rigged_judge import fill
from scipy import stats as scipy_stats
from sklearn.metrics import cohen_kappa_score

from korlhf.applications.label import export, items
from korlhf.core.errors import InputError
from korlhf.eval import agreement


def talks(path, scores):
    """A file of situations with the talks 가 and 나 of the models a and b. scores: of the judge, of each situation."""
    texts = ("가", "나")
    rows = [
        {
            "prompt": f"{i}번째 상황",
            "candidates": [
                {"text": f"{text} {i}", "model": model, "score": score, "scores": {"listens": 6 - score}}
                for text, model, score in zip(texts, "ab", of_one)
            ],
        }
        for i, of_one in enumerate(scores)
    ]
    return write(path, rows)


def label(who, i, better):
    """What somebody says of a situation: that 가 or 나 is better, or "tie"."""
    texts = [f"가 {i}", f"나 {i}"]
    head = {"prompt": f"{i}번째 상황", "annotator": who}
    if better == "tie":
        return {**head, "verdict": "tie", "answers": texts}
    chosen = texts["가나".index(better)]
    return {**head, "chosen": chosen, "rejected": next(t for t in texts if t != chosen)}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Function: (scores, labels, flags) -> exit code, result, rows. 가 is always the first."""
    monkeypatch.setattr(agreement, "_drawn", lambda text: text)

    def run(scores, labels, *flags):
        file = talks(tmp_path / "talks.jsonl", scores)
        said = write(tmp_path / "labels.jsonl", labels)
        return eval_harness.run("agreement", tmp_path / "out", "--talks", file, "--labels", said, *flags)

    return run


SCORES = [(4, 2), (4, 2), (4, 2), (2, 4)]
LABELS = [label("하나", i, better) for i, better in enumerate("가가나나")]
LABELS += [label("둘", 0, "tie"), label("둘", 1, "가")]


def test_people_and_judge_by_hand(run):
    code, found, _ = run(SCORES, LABELS)
    figures = {(f["first"], f["second"]): f for f in found["figures"]["agreement"]}
    assert code == 0 and len(figures) == 4
    one = figures["judge", "하나"]  # + + + - and + + - -: 3 of 4 the same, by chance .75 * .5 + .25 * .5
    assert (one["situations"], one["pairs"], one["same"]) == (4, 4, 0.75)
    assert one["kappa"]["mean"] == pytest.approx(0.5) and one["tau"]["mean"] == pytest.approx(0.5)
    two = figures["judge", "둘"]  # + + and 0 +: 1 of 2, by chance 1 * .5; 1 / sqrt(2 * 1)
    assert two["kappa"]["mean"] == pytest.approx(0.0) and two["tau"]["mean"] == pytest.approx(0.5**0.5)
    assert figures["둘", "하나"]["situations"] == 2 and figures["둘", "하나"]["same"] == 0.5
    both = figures["judge", "all people"]  # 4 of 6; chance (5 * 3 + 1 * 2) / 36
    assert both["kappa"]["mean"] == pytest.approx(7 / 19) and both["tau"]["mean"] == pytest.approx(3 / 30**0.5)
    assert both["kappa"]["low"] < 7 / 19 < both["kappa"]["high"]
    assert [row[:3] for row in table(found, "How far")["rows"]][0][2] == 4
    said = [w["en"] for w in found["warnings"]]
    assert any("4 situations, fewer than 30" in w for w in said) and any("better than by chance" in w for w in said)


def test_a_criterion_of_its_own(run):
    """The judge's scores of listens are the other way round: 3 of 4 become 1 of 4."""
    _, found, _ = run(SCORES, LABELS[:4], "--criterion", "listens")
    assert found["figures"]["agreement"][0]["same"] == 0.25 and found["protocol"]["compared"] == "listens"


def test_scores_that_differ_by_rounding_alone_are_a_tie(run):
    _, found, _ = run([(0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1)], [label("하나", 0, "tie")])
    assert found["figures"]["agreement"][0]["same"] == 1.0


def test_many_that_agree_have_a_narrow_interval_and_no_warning(run):
    scores = [(4, 2), (2, 4)] * 20
    _, found, _ = run(scores, [label("하나", i, "가나"[i % 2 if i else 1]) for i in range(40)])
    (one,) = found["figures"]["agreement"]
    assert 0.8 < one["kappa"]["low"] < one["kappa"]["mean"] < 1 and found["warnings"] == []


def test_kappa_and_tau_are_those_of_other_libraries():
    rng = np.random.default_rng(3)
    x, y = rng.integers(-1, 2, size=(2, 200))
    y = np.where(rng.random(200) < 0.5, x, y)
    counts = np.zeros(9)
    np.add.at(counts, 3 * (1 - x) + 1 - y, 1)
    assert agreement.kappa(counts) == pytest.approx(cohen_kappa_score(x, y))
    # tau-b of two rankings of five talks, from their ten pairs
    a, b = [1, 2, 2, 4, 5], [2, 1, 3, 3, 5]
    pairs = np.zeros(9)
    for i in range(5):
        for j in range(i):
            sign = [int(np.sign(of[i] - of[j])) for of in (a, b)]
            pairs[3 * (1 - sign[0]) + 1 - sign[1]] += 1
    assert agreement.tau(pairs) == pytest.approx(scipy_stats.kendalltau(a, b).statistic)
    assert np.isnan(agreement.tau(np.eye(9)[4])) and agreement.kappa(np.eye(9)[4]) == 1.0


def test_from_the_benchmark_over_the_labelling_application_to_the_table(tmp_path):
    """Two models, two situations of Warmth; what the judge prefers is what one person says and another turns round."""
    rows = [
        {
            "id": f"w{i}",
            "kind": "talk",
            "turns": [f"{i}번 이야기", "이어서", "끝으로"],
            "reply": "존댓말",
            "criteria": ["listens", "remembers"],
        }
        for i in range(2)
    ]
    data = write(tmp_path / "questions.jsonl", rows)
    said = {name: [{"id": r["id"], "outputs": [f"{name} 답이에요"] * 3} for r in rows] for name in ("good", "bad")}
    files = [f"{name}={write(tmp_path / f'{name}.jsonl', lines)}" for name, lines in said.items()]
    out = tmp_path / "talks.jsonl"
    with Server(lambda body: fill(body, [[5 if "good" in str(body["messages"]) else 1, 3]])) as server:
        words = [
            "--data_path",
            data,
            "--benchmark",
            "warmth",
            "--responder",
            *files,
            "--rescore_share",
            0,
            "--talks",
            out,
        ]
        judge = ["--judge", f"openai:test-model@{server.url}", "--judge_samples", 1, "--output_dir", tmp_path / "out"]
        assert eval_harness.load("chat_benchmark").main([*map(str, [*words, *judge])]) == 0
    to_label, left_out = items.read([str(out)])
    assert len(to_label) == 2 and not left_out and to_label[0].record["prompt"].count("이야기") == 1
    assert to_label[0].answers[0].text == "1. good 답이에요\n\n2. good 답이에요\n\n3. good 답이에요"
    assert to_label[0].answers[0].score == 4.0
    given = label_harness.given(label_harness.order([0], [1]), label_harness.order([1], [0]), k=2)
    lines = [row for item in to_label for row in export.label_rows(item, given)]
    code, found, _ = eval_harness.run(
        "agreement", tmp_path / "out", "--talks", out, "--labels", write(tmp_path / "labels.jsonl", lines)
    )
    same = {(f["first"], f["second"]): f["same"] for f in found["figures"]["agreement"]}
    assert code == 0 and same == {
        ("judge", "all people"): 0.5,
        ("judge", "annotator_01"): 1.0,
        ("judge", "annotator_02"): 0.0,
        ("annotator_01", "annotator_02"): 0.0,
    }


@pytest.mark.parametrize(
    "labels, flags, message",
    [
        ([label("", 0, "가")], (), "--labels: a label on .* names no annotator"),
        ([label("하나", 7, "가")], (), r"labels.jsonl:1: no record has the prompt .*or give the file of --talks"),
        ([{**label("하나", 0, "가"), "rejected": "다"}], (), "labels.jsonl:1: '다' is none of the 2 answers"),
        ([{**label("하나", 0, "가"), "chosen": "다시 쓴 답"}], (), "no label is about two talks that the judge has"),
        (LABELS, ("--criterion", "warm"), "--criterion warm: no talk has it; there are listens"),
    ],
)
def test_what_cannot_be_compared(run, labels, flags, message):
    with pytest.raises(InputError, match=message):
        run(SCORES, labels, *flags)

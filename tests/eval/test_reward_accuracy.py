"""eval/reward_accuracy.py on reward models whose scores are known."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import eval_harness
import numpy as np
import pytest
import rigged_reward
from eval_harness import lasting, write
from reward_pairs_data import by_length, by_mark, pairs_of

from korlhf.core.errors import InputError
from korlhf.eval import reward, reward_report
from korlhf.llm.cache import Cache


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    return rigged_reward.counts_tokens(tmp_path_factory.mktemp("rigged") / "counts")


@pytest.fixture(scope="module")
def matches(tmp_path_factory):
    return rigged_reward.matches_marks(tmp_path_factory.mktemp("rigged") / "matches")


def run(out, *flags):
    """(the JSON, the rows, all warnings in English as one text)"""
    code, found, rows = eval_harness.run("reward_accuracy", out, "--dtype", "fp32", *flags)
    assert code == 0
    return found, rows, "\n".join(w["en"] for w in found["warnings"])


def test_a_model_that_counts_characters_is_unmasked_where_it_looks_good(counts, tmp_path):
    data = write(tmp_path / "pairs.jsonl", by_length(200))
    found, rows, warnings = run(tmp_path / "out", "--model_name_or_path", counts, "--data_path", data)
    accuracy = found["figures"]["models"]["counts"]["accuracy"]["all"]
    assert (accuracy["mean"], accuracy["n"]) == (0.85, 200)
    assert "counts does not significantly beat the trivial rule 'longer'" in warnings and "McNemar p = 1" in warnings
    assert (
        "counts mostly counts characters: it likes long answers (Spearman of score and length differences +1.00), and "
        "where the shorter answer is the better one it is right in only 0.000 (n = 30)" in warnings
    )
    assert "counts: its folder has no settings.json of step 2, so it is unknown" in warnings
    assert all(any("가" <= c <= "힣" for c in w["ko"]) and "counts" in w["ko"] for w in found["warnings"])
    # fitted to one half, measured on the other, the model too
    beside = found["figures"]["beside"]
    compared = [r for r in rows if r["compared"]]
    assert len(compared) == beside["models"]["counts"]["n"] == 100 and len(rows) == 200
    assert beside["models"]["counts"]["mean"] == pytest.approx(sum(r["right"]["counts"] for r in compared) / 100)
    rule = next(b for b in beside["baselines"] if b["rule"] == "longer")
    assert rule["mean"] == beside["models"]["counts"]["mean"] and rule["against"]["counts"]["difference"] == 0.0
    table = next(t for t in found["tables"] if t["title"]["en"].startswith("Baselines"))
    assert "random half of the prompts (100 pairs, seed 1234)" in table["notes"][0]["en"]
    # a row has all there is to a pair, and the score is what was written into the weights
    row = rows[0]
    assert row["margin"]["counts"] == pytest.approx(0.05 * (len(row["chosen"]) - len(row["rejected"])), abs=2e-3)
    assert row["messages"] == [{"role": "user", "content": by_length(1)[0]["prompt"]}]
    assert row["ranks"] == [1, 2]
    assert row["in_figures"]


def test_a_model_that_likes_short_answers_is_called_so():
    lines = []
    pairs = pairs_of(*((f"질문 {i}", ["가" * (5 + i % 7), "나" * (30 + i % 11)], "all") for i in range(40)))
    scores = -np.array([pairs["chosen"].str.len(), pairs["rejected"].str.len()], dtype=float).T
    reward_report.warn_of_length(SimpleNamespace(warn=lines.append), "m", reward.length(pairs, scores))
    assert [line["en"] for line in lines] == [
        "m mostly counts characters: it likes short answers (Spearman of score and length differences -1.00), and no "
        "pair here has the longer answer as the better one, so it cannot be shown to do more"
    ]


def test_a_good_model_is_left_in_peace(matches, counts, tmp_path):
    data, train = write(tmp_path / "pairs.jsonl", by_mark(150)), write(tmp_path / "train.jsonl", by_mark(300, seed=3))
    found, rows, warnings = run(
        tmp_path / "out",
        "--model_name_or_path",
        f"good={matches}",
        f"rigged={counts}",
        "--data_path",
        data,
        "--train_data_path",
        train,
    )
    assert found["figures"]["models"]["good"]["accuracy"]["all"]["mean"] == 1.0 and "good" not in warnings
    assert "rigged: its accuracy over all pairs" in warnings and "not above that of a coin" in warnings
    assert "rigged does not significantly beat the classifier" in warnings
    agreement = found["figures"]["agreement"][0]
    right = sum(r["right"]["rigged"] is True for r in rows)
    ties = sum(r["right"]["rigged"] is None for r in rows)
    assert (agreement["first"], agreement["second"], agreement["n"]) == ("good", "rigged", 150)
    assert agreement["alike"] == pytest.approx(right / 150)
    assert agreement["only_first"] == 150 - right
    assert agreement["only_second"] == 0
    assert agreement["difference"] == pytest.approx(1 - (right + ties / 2) / 150)
    assert (
        found["figures"]["beside"]["models"]["good"]["n"] == 150
    )  # fitted to the training pairs: all of these are compared
    table = next(t for t in found["tables"] if t["title"]["en"].startswith("Baselines"))
    assert f"300 pairs of {train} (300 prompts)" in table["notes"][0]["en"]
    assert found["protocol"]["pairs"]["en"].startswith("150 of") and "{prompt}" in found["protocol"]["template"]
    categories = found["figures"]["models"]["good"]["accuracy"]["by_category"]
    assert {c: f["n"] for c, f in categories.items()} == {"everyday": 100, "evol": 50}


def test_prompts_seen_in_training_are_left_out_and_told(counts, tmp_path):
    """settings.json names the training data; 20 of 60 prompts are in it, all of them pairs that the model has right."""
    model = tmp_path / "model"
    shutil.copytree(counts, model)
    rows = by_length(60, longer=0.5)
    near = [{**r, "prompt": r["prompt"] + " 어때"} for r in rows[30:33]]
    train = write(tmp_path / "train.jsonl", rows[:20] + near + by_length(80, seed=5)[60:])
    settings = {
        "data_path": [train],
        "data_split": "0,1,0",
        "eval_data_path": [],
        "eval_share": 0.0,
        "max_eval_examples": 0,
        "seed": 1,
    }
    (model / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    data = write(tmp_path / "pairs.jsonl", rows)
    found, written, warnings = run(tmp_path / "out", "--model_name_or_path", model, "--data_path", data)
    assert (
        "model: 20 of 60 prompts are in its training data; their pairs are excluded from every figure "
        "(accuracy there 1.000, on the others 0.250)" in warnings
    )  # 10 of 40; less the 3 of the next line, 10 of 37
    assert (
        "model: 3 of 60 prompts are near-duplicates of one in its training data (accuracy there 0.000, on the rest "
        "0.270)" in warnings
    )
    assert found["figures"]["models"]["model"]["accuracy"]["all"]["mean"] == 10 / 40
    assert sum(r["in_figures"] for r in written) == 40
    assert len(written) == 60 and not any(r["compared"] for r in written if not r["in_figures"])
    table = next(t for t in found["tables"] if t["title"]["en"].startswith("Baselines"))
    assert (
        "fitted to 23 pairs of the training data that settings.json names" in table["notes"][0]["en"]
    )  # 43 less the 20 asked here
    # --train_data_path goes before settings.json; and with no new prompt at all the figures stay, with a warning
    found, written, warnings = run(
        tmp_path / "out", "--model_name_or_path", model, "--data_path", data, "--train_data_path", data
    )
    assert "60 of 60 prompts are in its training data, and none is new to all models" in warnings
    assert found["figures"]["models"]["model"]["accuracy"]["all"]["n"] == 60
    assert sum(r["compared"] for r in written) == 30
    Path(train).unlink()
    assert (
        "its training data cannot be read"
        in run(tmp_path / "out", "--model_name_or_path", model, "--data_path", data)[2]
    )


def test_ranked_answers_too_long_ones_and_copies(counts, tmp_path):
    ranked = [{"prompt": f"질문 {i}", "answers": ["가" * 9, "나" * 6, "다" * 3], "category": "a"} for i in range(6)]
    pair = {"prompt": "다른 질문", "chosen": "라", "rejected": "마" * 300, "category": "b"}
    data = write(tmp_path / "pairs.jsonl", [*ranked, ranked[0], pair, {**pair, "rejected": "바" * 2}])
    found, rows, warnings = run(
        tmp_path / "out", "--model_name_or_path", counts, "--data_path", data, "--max_seq_len", 200
    )
    of = found["figures"]["models"]["counts"]["accuracy"]
    assert (of["all"]["n"], of["all"]["prompts"]) == (19, 7)
    assert (of["by_category"]["a"]["mean"], of["by_category"]["b"]["mean"]) == (1.0, 0.0)
    assert "counts: 1 of 22 answers have no score, e.g. too long" in warnings
    assert "1 of 20 pairs have an answer without a score" in warnings
    assert [(*r["ranks"], r["chosen"][0], r["rejected"][0]) for r in rows[:3]] == [
        (1, 2, "가", "나"),
        (1, 3, "가", "다"),
        (2, 3, "나", "다"),
    ]
    assert "only 19 pairs" in warnings and "not compared with a classifier: only" in warnings
    few, _, _ = run(
        tmp_path / "few", "--model_name_or_path", counts, "--data_path", data, "--max_seq_len", 400, "--max_pairs", 8
    )
    assert 4 <= few["figures"]["models"]["counts"]["accuracy"]["all"]["n"] <= 12


def test_constant_scores(counts, tmp_path):
    data = write(
        tmp_path / "pairs.jsonl",
        [{"prompt": f"질문 {i}!"[-5:], "chosen": "좋아요", "rejected": "싫어요"} for i in range(10, 50)],
    )
    found, _, warnings = run(tmp_path / "out", "--model_name_or_path", counts, "--data_path", data)
    assert "every answer has the same score" in warnings
    assert found["figures"]["models"]["counts"]["accuracy"]["all"]["mean"] == 0.5


class Stop(Exception):
    """Stands in for kill -9."""


def test_a_killed_run_resumes_and_ends_with_the_same_bytes(counts, tmp_path, monkeypatch):
    data = write(tmp_path / "pairs.jsonl", by_length(40))
    flags = ["--model_name_or_path", counts, "--data_path", data, "--batch_size", 8]
    run(tmp_path / "whole", *flags)
    chunks, put = [], Cache.put_many

    def stops(self, values):
        put(self, values)
        chunks.append(len(values))
        if len(chunks) == 3:
            raise Stop

    monkeypatch.setattr(Cache, "put_many", stops)
    with pytest.raises(Stop):
        run(tmp_path / "killed", *flags)
    assert not (tmp_path / "killed" / "reward_accuracy.json").exists()
    run(tmp_path / "killed", *flags)
    assert chunks == [8] * 5  # of the 40 answers that differ in tokens, none was computed twice
    results = [lasting(tmp_path / folder, "reward_accuracy") for folder in ("whole", "killed")]
    assert results[0] == results[1]


def test_refusals(counts, folders, tmp_path):
    data = write(tmp_path / "pairs.jsonl", by_length(10))
    broken = write(tmp_path / "broken.jsonl", [by_length(1)[0], {"prompt": "가", "chosen": "나"}])
    for flags, message in (
        (["--model_name_or_path", counts, counts, "--data_path", data], "two are called 'counts'"),
        (["--model_name_or_path", folders["gpt2"], "--data_path", data], "not a reward model"),
        (["--model_name_or_path", tmp_path / "absent", "--data_path", data], "no such folder"),
        (["--model_name_or_path", counts, "--data_path", tmp_path / "absent.jsonl"], "absent.jsonl: no such file"),
        (
            ["--model_name_or_path", counts, "--data_path", broken],
            "broken.jsonl:2: step 2 needs two or more ranked answers",
        ),
        (
            ["--model_name_or_path", counts, "--data_path", data, "--train_data_path", broken],
            "broken.jsonl:2: step 2 needs",
        ),
        (
            ["--model_name_or_path", counts, "--data_path", data, "--max_seq_len", 5],
            "none of the 10 pairs has .*raise --max_seq_len",
        ),
        (["--model_name_or_path", counts, "--data_path", data, "--output_dir", data], "--output_dir .*: is a file"),
    ):
        with pytest.raises(InputError, match=message):
            run(tmp_path / "out", *flags)

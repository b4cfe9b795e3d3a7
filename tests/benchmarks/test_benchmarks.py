"""The benchmarks print what they promise, and count tokens and padding as a hand does. No time is asserted."""

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import bench
from korlhf.core.errors import InputError

words = str.split

ROOT = Path(__file__).resolve().parents[2]
TINY = words(
    "--hidden_size 32 --layers 1 --vocab_size 64 --batch_size 3 --seq_len 32 --steps 2 --warmup_steps 0 "
    "--compare_steps 1 --peak_seconds 0.01 --dtype fp32"
)
PRINTED = [
    "real tokens/s",
    "samples/s",
    "padding",
    "peak memory",
    "matrix-product peak",
    "of peak",
    "packed",
    "longest",
    "limit",
    "model FLOP =",
]


def run(step, tmp_path, *args):
    """(printed text, JSON) of a benchmark with the smallest sizes."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{step}.py"), *TINY, *args, "--output", str(tmp_path / "out.json")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))


def check_common(printed, result):
    for field in PRINTED:
        assert field in printed, field
    assert result["machine"]["matrix_peak_flops_per_second"] > 0 and result["peak_memory_mb"] > 0
    for f in [*result["phases"].values(), *result["layouts"].values()]:
        assert f["real_tokens_per_second"] == pytest.approx(f["real_tokens"] / f["seconds"])
        assert f["samples_per_second"] == pytest.approx(f["samples"] / f["seconds"])
        assert f["share_of_matrix_peak"] == pytest.approx(
            f["model_flops_per_second"] / result["machine"]["matrix_peak_flops_per_second"]
        )
    for f in result["layouts"].values():
        assert f["time_ratio"] == pytest.approx(f["seconds"] / result["layouts"]["packed"]["seconds"])


# Matrix parameters of the GPT-NeoX of hidden size 32, 1 layer: 4 x 32^2 of attention + 8 x 32^2 of the MLP = 12,288;
# head 64 x 32 = 2,048.
BODY, HEAD, ATTENTION = 12_288, 2_048, 2 * 32


def flops(f):
    return f["model_flops_per_second"] * f["seconds"]


def test_step1(tmp_path):
    printed, result = run("step1", tmp_path, "--lengths", "3+5", "4+6", "10+20")
    check_common(printed, result)
    # sequences of 8, 10 and 30 tokens: 48 real ones a step, and no others packed. One a row of 30: 90; of 32: 96.
    training, layouts = result["phases"]["training"], result["layouts"]
    assert (training["samples"], training["real_tokens"], training["computed_tokens"]) == (6, 96, 96)
    assert training["padding_share"] == 0
    assert [layouts[k]["computed_tokens"] for k in ("packed", "longest", "limit")] == [48, 90, 96]
    assert [layouts[k]["padding_share"] for k in ("packed", "longest", "limit")] == pytest.approx([0, 42 / 90, 0.5])
    # 5 + 6 + 20 = 31 trained tokens have logits; backward is twice the forward; two steps
    forward = 2 * (BODY * 48 + HEAD * 31) + ATTENTION * (8**2 + 10**2 + 30**2)
    assert flops(training) == pytest.approx(2 * 3 * forward)


def test_step2(tmp_path):
    printed, result = run("step2", tmp_path, "--lengths", "3+5+4", "4+6+3", "10+20+3")
    check_common(printed, result)
    # prompt with answer: 8 7, 10 7, 30 13 = 75 real tokens a step.
    # One a row of 30: 180; of 32: 192.
    training, layouts = result["phases"]["training"], result["layouts"]
    assert (training["samples"], training["real_tokens"], training["computed_tokens"]) == (6, 150, 150)
    assert [layouts[k]["computed_tokens"] for k in ("packed", "longest", "limit")] == [75, 180, 192]
    assert layouts["limit"]["padding_share"] == pytest.approx(1 - 75 / 192)
    # the scalar head is a matrix of 32; no logits over the vocabulary
    forward = 2 * (BODY + 32) * 75 + ATTENTION * (8**2 + 7**2 + 10**2 + 7**2 + 30**2 + 13**2)
    assert flops(training) == pytest.approx(2 * 3 * forward)


def test_step3(tmp_path):
    printed, result = run("step3", tmp_path, "--lengths", "3", "5", "10", "--mean_answer", "0")
    check_common(printed, result)
    assert set(result["phases"]) == {"sampling", "scoring", "training", "total"}
    # Limits 16 + 16. Nothing ends by itself: answers of 16 tokens, sequences of 19, 21 and 26 = 66.
    # Two steps in `phases`, one in `layouts`.
    sampling, scoring, training = (result["phases"][p] for p in ("sampling", "scoring", "training"))
    assert (sampling["samples"], sampling["real_tokens"]) == (6, 2 * 48)
    # fed into the model: prompts 3 + 5 + 10 and 15 tokens of each answer = 63 real; prompts padded to 10: 3 x 10 + 3
    # x 15 = 75
    assert sampling["computed_tokens"] == 2 * 75 and sampling["padding_share"] == pytest.approx(1 - 63 / 75)
    # packed for the reference, for actor and critic: 66 each; the reward model reads an end more: 20, 22, 27 = 69
    assert scoring["computed_tokens"] == 2 * (2 * 66 + 69) and scoring["padding_share"] == 0
    # actor and critic are run once for both
    assert training["computed_tokens"] == scoring["computed_tokens"]
    # to the limit: sampling 3 x (16 + 15) = 93, the rest 3 x 3 x 32 = 288
    assert result["layouts"]["limit"]["computed_tokens"] == 93 + 2 * 288
    # to the longest (26, with an end 27), and all go on to the last one's 16
    assert result["layouts"]["longest"]["computed_tokens"] == 75 + 2 * 3 * (2 * 26 + 27)
    lm = 2 * (BODY * 66 + HEAD * 48) + ATTENTION * (19**2 + 21**2 + 26**2)
    score = 2 * (BODY + 32) * 66 + ATTENTION * (19**2 + 21**2 + 26**2)
    assert [flops(f) / 2 for f in (sampling, scoring, training)] == pytest.approx([lm, lm + score, 3 * lm + 3 * score])
    assert set(result["time_ratio_by_phase"]["limit"]) == {"sampling", "scoring", "training"}


def test_lengths():
    """Random ones stay within the limit and vary; given ones come in turn; impossible ones are refused in one line."""
    args, _ = bench.parse("test", [])
    found = list(itertools.islice(bench.draw_lengths(args, 3, 100, random.Random(1)), 500))
    assert all(min(f) >= 3 and f[0] <= 50 and f[0] + max(f[1:]) <= 100 for f in found)
    assert len({f[0] for f in found}) > 20 and found == list(
        itertools.islice(bench.draw_lengths(args, 3, 100, random.Random(1)), 500)
    )
    assert sorted(f[0] for f in found)[250] == pytest.approx(100 / 6, abs=2)  # the median
    given, _ = bench.parse("test", ["--lengths", "3+5", "4+6"])
    assert list(itertools.islice(bench.draw_lengths(given, 2, 32, None), 3)) == [(3, 5), (4, 6), (3, 5)]
    for text in ("30+5", "3", "a+5", "2+5"):
        bad, _ = bench.parse("test", ["--lengths", text])
        with pytest.raises(InputError, match="--lengths .*give 2 numbers"):
            next(bench.draw_lengths(bad, 2, 32, None))

"""The benchmarks print what they promise, and count tokens and padding as a hand does. No time is asserted."""

import itertools
import json
import random
import sys

import bench
import machine
import measure
import pytest
import step1
import step2
import step3
import torch
import trainings
from layouts import LAYOUTS, Flops

from korlhf.core.errors import InputError
from korlhf.training.world import World

words = str.split

TINY = words(
    "--hidden_size 32 --layers 1 --vocab_size 64 --batch_size 3 --seq_len 32 --steps 2 --warmup_steps 1 "
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


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """A function that runs a benchmark with the smallest sizes: (printed text, JSON)."""

    def run(step, *args):
        out = tmp_path / "out.json"
        monkeypatch.setattr(sys, "argv", [step.__name__, *TINY, *args, "--output", str(out)])
        step.main()
        return capsys.readouterr().out, json.loads(out.read_text(encoding="utf-8"))

    return run


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


def test_step1(run):
    printed, result = run(step1, "--lengths", "3+5", "4+6", "10+20")
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


def test_step2(run):
    printed, result = run(step2, "--lengths", "3+5+4", "4+6+3", "10+20+3")
    check_common(printed, result)
    # prompt with answer: 8 7, 10 7, 30 13 = 75 real tokens a step; prompts of 3, 4 and 10 once: 58.
    # One a row of 30: 180; of 32: 192.
    training, layouts = result["phases"]["training"], result["layouts"]
    assert (training["samples"], training["real_tokens"], training["computed_tokens"]) == (6, 150, 116)
    assert training["padding_share"] == 0
    assert [layouts[k]["computed_tokens"] for k in ("packed", "longest", "limit")] == [58, 180, 192]
    assert layouts["limit"]["padding_share"] == pytest.approx(1 - 75 / 192)
    # the scalar head is a matrix of 32; no logits over the vocabulary
    attended = 8**2 + 7**2 - 3**2 + 10**2 + 7**2 - 4**2 + 30**2 + 13**2 - 10**2
    forward = 2 * (BODY + 32) * 58 + ATTENTION * attended
    assert flops(training) == pytest.approx(2 * 3 * forward)


def test_step3(run):
    printed, result = run(step3, "--lengths", "3", "5", "10", "--mean_answer", "0")
    check_common(printed, result)
    assert set(result["phases"]) == {"sampling", "scoring", "training", "total"}
    # Limits 16 + 16. Nothing ends by itself: answers of 16 tokens, sequences of 19, 21 and 26 = 66.
    # Two steps in `phases`, one in `layouts`.
    sampling, scoring, training = (result["phases"][p] for p in ("sampling", "scoring", "training"))
    assert (sampling["samples"], sampling["real_tokens"]) == (6, 2 * 48)
    # fed into the model: prompts 3 + 5 + 10 and 15 tokens of each answer = 63 real; prompts padded to 10: 3 x 10 + 3
    # x 15 = 75
    assert sampling["computed_tokens"] == 2 * 75 and sampling["padding_share"] == pytest.approx(1 - 63 / 75)
    # the reference reads 66; the reward model an end more: 20, 22, 27 = 69. Actor and critic run once, with a graph
    assert scoring["computed_tokens"] == 2 * (66 + 69) and scoring["padding_share"] == 0
    assert training["computed_tokens"] == 2 * 2 * 66 and training["padding_share"] == 0
    # to the limit: sampling 3 x (16 + 15) = 93, scoring and training 2 x 3 x 32 = 192 each
    assert result["layouts"]["limit"]["computed_tokens"] == 93 + 192 + 192
    # to the longest (26, with an end 27), and all go on to the last one's 16
    assert result["layouts"]["longest"]["computed_tokens"] == 75 + 3 * (26 + 27) + 2 * 3 * 26
    lm = 2 * (BODY * 66 + HEAD * 48) + ATTENTION * (19**2 + 21**2 + 26**2)
    score = 2 * (BODY + 32) * 66 + ATTENTION * (19**2 + 21**2 + 26**2)
    reward = 2 * (BODY + 32) * 69 + ATTENTION * (20**2 + 22**2 + 27**2)
    assert [flops(f) / 2 for f in (sampling, scoring, training)] == pytest.approx([lm, lm + reward, 3 * lm + 3 * score])
    assert set(result["time_ratio_by_phase"]["limit"]) == {"sampling", "scoring", "training"}


def test_lengths():
    """Random ones stay within the limit and vary; given ones come in turn; impossible ones are refused in one line."""
    args, _ = bench.parse("test", [])
    found = list(itertools.islice(bench.draw_lengths(args, 2, 100, random.Random(1)), 500))
    assert all(min(f) >= 3 and f[0] <= 50 and f[0] + max(f[1:]) <= 100 for f in found)
    assert len({f[0] for f in found}) > 20 and found == list(
        itertools.islice(bench.draw_lengths(args, 2, 100, random.Random(1)), 500)
    )
    assert sorted(f[0] for f in found)[250] == pytest.approx(100 / 6, abs=2)  # the median
    given, _ = bench.parse("test", ["--lengths", "3+5", "4+6"])
    assert list(itertools.islice(bench.draw_lengths(given, 1, 32, random.Random(1)), 3)) == [(3, 5), (4, 6), (3, 5)]
    for text in ("30+5", "3", "a+5", "2+5"):
        bad, _ = bench.parse("test", ["--lengths", text])
        with pytest.raises(InputError, match="--lengths .*give PROMPT.ANSWER"):
            next(bench.draw_lengths(bad, 1, 32, random.Random(1)))


def test_lengths_of_data(tmp_path):
    """Of a dataset: prompts with the template and answers with their end, in tokens of its own texts."""
    rows = [{"prompt": "가나다", "output": "라마 " * n} for n in (2, 30)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    args, _ = bench.parse("test", ["--data", str(file), "--vocab_size", "300"])
    short, long = sorted(set(itertools.islice(bench.draw_lengths(args, 1, 2048, random.Random(1)), 4)))
    assert short[0] == long[0] > 3  # the same prompt
    # of the bytes of 라마 and a blank (7) at most 44 pairs are merged, in each group alike; EOS is one token
    per_group = (long[1] - short[1]) / 28
    assert per_group == int(per_group) and 1 <= per_group <= 7 and short[1] <= 2 * per_group + 1
    assert [n for (n,) in itertools.islice(bench.draw_lengths(args, 3, 2048, random.Random(1)), 1)] == [short[0]]


def test_layouts_train_the_same():
    """Padded rows give the loss of packed ones; the weights stand still."""
    args, _ = bench.parse("test", [*TINY, "--learning_rate", "0", "--lengths", "3+5", "4+6", "10+20"])
    world, dtype, rng = bench.start(args)
    lm = trainings.language_model(args, world, dtype)
    rows = trainings.sft_rows(bench.draw_lengths(args, 1, 32, rng), 3, args.vocab_size, rng)
    with torch.no_grad():
        logps = [lm(torch.tensor([r.ids])).logits[0].log_softmax(-1)[range(len(r) - 1), r.ids[1:]] for r in rows]
    answers = torch.cat([x[[bool(m) for m in r.mask[1:]]] for x, r in zip(logps, rows)])
    steps = measure.Steps(trainings.sft(lm, args, world, dtype, rows), args, Flops(lm), Flops(lm))
    losses = []
    for kind in LAYOUTS:
        steps(measure.batch_of(0, 3, world), kind)
        losses.append(steps.metrics["loss"])
    assert losses == pytest.approx([-float(answers.mean())] * 3, abs=1e-5)


def test_lora_leaves_out_the_gradients_of_frozen_weights(run):
    _, whole = run(step1, "--lengths", "3+5", "--compare_steps", "0")
    _, lora = run(step1, "--lengths", "3+5", "--compare_steps", "0", "--lora_dim", "2")
    assert flops(lora["phases"]["training"]) == pytest.approx(flops(whole["phases"]["training"]) * 2 / 3)


def test_batches_of_two_processes_share_the_examples():
    two = [World(rank, 2, torch.device("cpu")) for rank in (0, 1)]
    assert [measure.batch_of(1, 2, world) for world in two] == [
        (2, [[4, 5]], [4, 5, 6, 7]),
        (2, [[6, 7]], [4, 5, 6, 7]),
    ]


def test_chips():
    assert machine.chip("NVIDIA H100 80GB HBM3") == (989e12, 3.35e12)
    assert machine.chip("NVIDIA H100 PCIe") == (756e12, 2e12)
    assert machine.chip("NVIDIA GeForce GT 710") is None

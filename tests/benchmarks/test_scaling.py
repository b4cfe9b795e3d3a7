"""scaling.py: one thing is varied at a time, ratios are taken round by round."""

import sys
from pathlib import Path

import bench
import pytest
import scaling

from korlhf.core.errors import InputError


def parse(*words):
    return bench.parse("test", list(words), scaling.ScalingFlags)


def test_settings_vary_one_thing_each():
    args, more = parse("--step", "3", "--batch_size", "4", "--seq_lens", "32", "64", "--processes", "1", "2")
    assert scaling.settings_of(more) == [("seq_len", 32), ("seq_len", 64), ("processes", 1), ("processes", 2)]
    script, same = str(scaling.HERE / "step3.py"), ["--compare_steps", "0", "--output", "out"]
    by_length = scaling.command(args, more, ("seq_len", 64), Path("out"))
    assert by_length == [sys.executable, "-u", script, "--batch_size", "4", "--seq_len", "64", *same]
    two = scaling.command(args, more, ("processes", 2), Path("out"))
    assert two[1:3] == ["-m", "deepspeed.launcher.runner"] and two[5:8] == ["--num_accelerators", "2", script]
    assert two[8:] == ["--batch_size", "4", *same]


def test_flags_survive_the_way_to_the_run():
    given = ["--lengths", "3+5", "4+6", "--gradient_checkpointing", "--learning_rate", "0.0", "--zero_stage", "2"]
    args, _ = parse(*given)
    assert bench.parse("test", scaling.as_flags(vars(args)))[0] == args


def test_ratios():
    def run(rate, cpu):
        return {
            "real_tokens_per_second": rate,
            "seconds_per_token": 1 / rate,
            "cpu_seconds_per_token": cpu,
            "peak_memory_mb": 100,
        }

    found = {("processes", 1): [run(10.0, 1.0), run(20.0, 1.0)], ("processes", 2): [run(16.0, 1.5), run(36.0, 1.1)]}
    one, two = scaling.summarise(found)
    assert one["real_tokens_per_second_ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert two["real_tokens_per_second"] == 26.0 and two["n"] == 2
    assert two["real_tokens_per_second_ratio"] == pytest.approx({"median": 1.7, "min": 1.6, "max": 1.8})
    assert two["cpu_seconds_per_token_ratio"] == pytest.approx({"median": 1.3, "min": 1.1, "max": 1.5})


def test_a_run_that_fails_says_why(monkeypatch):
    program = "import sys; print('a note', file=sys.stderr); sys.exit('error: no such file')"
    monkeypatch.setattr(scaling, "command", lambda *_: [sys.executable, "-S", "-c", program])
    args, more = parse("--seq_lens", "64")
    with pytest.raises(InputError, match="seq_len 64: error: no such file"):
        scaling.run(args, more, ("seq_len", 64))

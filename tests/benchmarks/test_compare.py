"""compare.py: the same rows for every side, turns between processes, ratios round by round."""

import importlib.util
import json
import sys
from pathlib import Path

import compare
import our_runs
import pytest
from rounds import Side

ROOT = Path(__file__).resolve().parents[2]
TINY = {"hidden_size": 32, "layers": 1, "vocab_size": 64, "batch_size": 2, "seq_len": 32, "mean_answer": 3}


def flags(**more):
    return compare.CompareFlags(**{**TINY, "trl": "python", "rounds": 2, "steps": 1, "warmup_steps": 1, **more})


class Turns:
    """In the place of rounds.Turns: keeps what a side says."""

    def __init__(self):
        self.said = []

    def ready(self, **about):
        self.said.append(about)

    def wait(self):
        return True

    def answer(self, **counts):
        self.said.append(counts)


@pytest.mark.parametrize("task", ["sft", "reward", "ppo"])
@pytest.mark.parametrize("layout", ["packed", "limit"])
def test_our_side_works_every_round_on_its_own_rows(task, layout, tmp_path, monkeypatch):
    spec, turns = compare.spec_of(task, flags()), Turns()
    assert len(spec["rows"]) == (1 + 2) * 2
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    monkeypatch.setattr(sys, "argv", ["our_runs.py", str(tmp_path / "spec.json"), layout])
    monkeypatch.setattr(our_runs, "Turns", lambda: turns)
    our_runs.main()
    about, *rounds = turns.said
    assert "torch" in about["versions"] and [r["samples"] for r in rounds] == [2, 2]
    if task == "ppo":
        prompts = [sum(len(ids) for ids, _ in spec["rows"][at : at + 2]) for at in (2, 4)]
        assert all(p + 2 <= r["tokens"] <= p + 2 * 16 for p, r in zip(prompts, rounds))
    else:
        each = [sum(len(ids) for ids, _ in (row if task == "reward" else [row])) for row in spec["rows"]]
        assert [r["tokens"] for r in rounds] == [each[2] + each[3], each[4] + each[5]]


def test_ratios_are_taken_round_by_round():
    about = {name: {"loss": 1.0} for name in (compare.OURS, "TRL")}
    ours = [{"cpu": 2.0, "wall": 4.0, "tokens": 40}, {"cpu": 1.0, "wall": 1.0, "tokens": 40}]
    trl = [{"cpu": 4.0, "wall": 4.0, "tokens": 40}, {"cpu": 4.0, "wall": 8.0, "tokens": 40}]
    result = compare.summarise("sft", "tokens", {compare.OURS: ours, "TRL": trl}, about)
    side = result["sides"]["TRL"]
    assert side["ratio"]["cpu"] == {"median": 3.0, "min": 2.0, "max": 4.0, "n": 2}  # 20 / 10 and 40 / 10
    assert side["ratio"]["wall"] == {"median": 4.5, "min": 1.0, "max": 8.0, "n": 2}  # 10 / 10 and 40 / 5
    assert result["sides"][compare.OURS]["per_second"]["cpu"]["median"] == 30.0


SIDE = """
from rounds import Turns
turns = Turns()
print("noise on standard output")
turns.ready(versions={})
for number in range(ROUNDS):
    if not turns.wait():
        break
    turns.answer(samples=number)
"""


def side(tmp_path, rounds):
    script = tmp_path / "side.py"
    script.write_text(SIDE.replace("ROUNDS", str(rounds)))
    where = {"PYTHONPATH": str(ROOT / "benchmarks")}
    return Side("a side", [sys.executable, "-S", str(script)], tmp_path / "log", where)


def test_turns(tmp_path):
    one = side(tmp_path, 2)
    one.warm_up()
    rounds = [one.round(), one.round()]
    assert [r["samples"] for r in rounds] == [0, 1] and all(r["wall"] >= 0 and r["cpu"] >= 0 for r in rounds)
    with pytest.raises(RuntimeError, match="a side ended early: noise on standard output"):
        one.round()
    one.close()


def test_a_side_that_is_left_ends(tmp_path):
    one = side(tmp_path, 2)
    one.warm_up()
    one.close()
    assert one.process.returncode == 0


@pytest.mark.skipif(not importlib.util.find_spec("trl"), reason="TRL is compared from an environment of its own")
def test_trl_trains_the_same_loss(tmp_path):
    args = flags(trl=sys.executable)
    (tmp_path / "sft.json").write_text(json.dumps(compare.spec_of("sft", args)), encoding="utf-8")
    (found,) = compare.compare("sft", args, tmp_path)
    losses = [found["sides"][name]["loss"] for name in (compare.OURS, "TRL, padded")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_trl_must_be_there(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare.py", "--trl", "/nowhere/python"])
    with pytest.raises(SystemExit) as stopped:
        compare.main()
    assert stopped.value.code == 2 and "--trl /nowhere/python: no such program" in capsys.readouterr().err

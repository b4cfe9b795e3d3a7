"""metrics.jsonl: what a killed and resumed run leaves in it."""

import json

from korlhf.training import log


def written(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_steps_are_written_and_none_is_left_out(tmp_path):
    run = log.Log(tmp_path, "x", 2)
    run.write(0, {"heldout": 1.0})
    run.step(1, {"loss": 0.5, "norm": None}, ("loss", "norm"))
    run.close()
    assert written(tmp_path) == [{"step": 0, "heldout": 1.0}, {"step": 1, "loss": 0.5}]
    assert log.read_metrics(tmp_path) == written(tmp_path)


def test_metrics_after_the_resumed_step_are_cut(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f'{{"step": {i}, "loss": {i}}}\n' for i in range(6)) + '{"step": 6, "lo', encoding="utf-8"
    )
    run = log.Log(tmp_path, "x", 10, start=3)
    run.step(4, {"loss": 40})
    run.close()
    assert [(r["step"], r["loss"]) for r in written(tmp_path)] == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 40)]


def test_a_new_run_starts_an_empty_file(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1}\n', encoding="utf-8")
    log.Log(tmp_path, "x", 10).close()
    assert written(tmp_path) == []


def test_a_line_cut_by_a_kill_is_skipped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 2, "los', encoding="utf-8")
    assert log.read_metrics(tmp_path) == [{"step": 1, "loss": 2}]
    assert log.read_metrics(tmp_path / "nothing") == []


def test_other_ranks_write_nothing(tmp_path):
    run = log.Log(tmp_path, "x", 2, first=False)
    run.step(1, {"loss": 1})
    run.write(1, {"loss": 1})
    run.say("가")
    run.close()
    assert not list(tmp_path.iterdir())


def test_curves(tmp_path):
    run = log.Log(tmp_path, "x", 2)
    run.step(1, {"loss": 1.0, "note": "글"})
    run.step(2, {"loss": 0.5})
    run.close()
    log.curves(tmp_path, [("loss", ["loss", "missing"]), ("empty", ["nothing"])], "title")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_killed_while_it_is_opened_no_row_is_lost(tmp_path, monkeypatch):
    """metrics.jsonl is the old one or the new one at every moment of the opening."""
    text = "".join(f'{{"step": {i}}}\n' for i in range(6))
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    commit, moments = log.AtomicFile.commit, []
    monkeypatch.setattr(log.AtomicFile, "commit", lambda f: (moments.append(f.path.read_text("utf-8")), commit(f)))
    log.Log(tmp_path, "x", 10, start=3).close()
    assert moments == [text]
    assert [r["step"] for r in written(tmp_path)] == [0, 1, 2, 3]


def test_a_broken_row_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"st\xff": 2}\n[1]\n{"step": 2}\n')
    assert log.read_metrics(tmp_path) == [{"step": 1}, {"step": 2}]

"""korlhf/data/stage.py: whole files or none, what is counted, and who may write."""

import hashlib
import json
import subprocess
import sys

import pytest

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.data import stage

RECORD = {"id": "ab", "prompt": "안녕?"}


def test_output_failures_and_report(tmp_path, capsys):
    source, out = tmp_path / "in.jsonl", tmp_path / "새 폴더" / "out.jsonl"
    source.write_text("{}\n", encoding="utf-8")
    with stage.Stage("respond", out, {"seed": 1}, [str(source)]) as work:
        work.write(RECORD)
        assert not out.exists()
        work.drop("too short", RECORD)
        for _ in range(5):
            work.drop("too short", RECORD)
        work.fail(RECORD, "timeout after 3 tries", kind="timeout", responder="sft")
        work.count("answers", 3)
        work.extra["usage"] = {"requests": 4}
    assert out.read_text(encoding="utf-8") == '{"id": "ab", "prompt": "안녕?"}\n'
    (failed,) = map(json.loads, (out.parent / "out.failed.jsonl").read_text(encoding="utf-8").splitlines())
    assert failed == {"id": "ab", "reason": "timeout after 3 tries", "responder": "sft", "record": RECORD}
    report = json.loads((out.parent / "out.report.json").read_text(encoding="utf-8"))
    assert report["output"]["rows"] == 1 and report["output"]["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert report["inputs"] == [{"path": str(source), "sha256": hashlib.sha256(b"{}\n").hexdigest()}]
    assert (
        report["dropped"]["too short"]["count"] == 6
        and len(report["dropped"]["too short"]["examples"]) == stage.EXAMPLES
    )
    assert (report["failed"], report["counts"], report["usage"], report["settings"]) == (
        {"timeout": 1},
        {"answers": 3},
        {"requests": 4},
        {"seed": 1},
    )
    assert sorted(p.name for p in out.parent.iterdir()) == ["out.failed.jsonl", "out.jsonl", "out.report.json"]
    assert "6  dropped: too short" in capsys.readouterr().out


def test_an_earlier_output_stays_until_the_new_one_is_whole(tmp_path):
    out = tmp_path / "out.jsonl"
    with stage.Stage("a", out, {}) as work:
        work.write({"n": 1})
        work.fail({}, "x")
    with pytest.raises(RuntimeError), stage.Stage("a", out, {}) as work:
        work.write({"n": 2})
        raise RuntimeError
    assert out.read_text(encoding="utf-8") == '{"n": 1}\n'
    (tmp_path / "out.jsonl.partial").write_text("half a li", encoding="utf-8")  # what kill -9 leaves
    with stage.Stage("a", out, {}) as work:
        work.write({"n": 3})
    assert out.read_text(encoding="utf-8") == '{"n": 3}\n'
    assert not (tmp_path / "out.failed.jsonl").exists()  # nothing failed this time


@pytest.mark.parametrize(
    "output, inputs, message",
    [
        ("out.json", [], r"--output .*out.json: the output is JSON lines; give a name that ends in .jsonl"),
        ("in.jsonl", ["in.jsonl"], "is also an input"),
        ("folder.jsonl", [], r"is a folder; give a file name in it"),
        ("in.jsonl/x/out.jsonl", [], "cannot be written"),
    ],
)
def test_outputs_that_cannot_be(tmp_path, monkeypatch, output, inputs, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text("{}\n", encoding="utf-8")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InputError, match=message), stage.Stage("a", output, {}, inputs):
        pass


def test_two_processes_cannot_write_one_output(tmp_path):
    out = tmp_path / "out.jsonl"
    code = f"from korlhf.core import program\nfrom korlhf.data import stage\ndef main():\n    with stage.Stage('a', {str(out)!r}, {{}}):\n        pass\nprogram.run(main)"
    with stage.Stage("a", out, {}) as work:
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8")
        work.write({"n": 1})
    assert other.returncode == 2 and other.stderr.count("\n") == 1
    assert other.stderr.startswith(f"error: --output {out}: another process is writing it")
    assert out.read_text(encoding="utf-8") == '{"n": 1}\n'


def test_too_many_failures_are_an_exit_code(capsys):
    assert program.exit_code(5, 100, 0.05) == 0 and program.exit_code(0, 0, 0.05) == 0
    assert program.exit_code(6, 100, 0.05) == program.TOO_MANY_FAILED
    assert "6 of 100 failed, more than --max_failed 0.05" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_traceback():
    program = "from korlhf.core import program; program.run(lambda: [print(i, flush=True) for i in range(100_000)])"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141

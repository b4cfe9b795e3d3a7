"""korlhf/data/stage.py: whole files or none, what is counted, who may write, what is said after Ctrl-C."""

import hashlib
import os
import runpy
import signal
import subprocess
import sys
import time
from itertools import islice

import pytest
from openai_server import HANG, Server
from prep_harness import argv, read, report, start, write

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.data import readers, stage
from korlhf.data import record as records
from korlhf.data_prep import collect
from korlhf.data_prep.audit import scan

RECORD = {"id": "ab", "prompt": "안녕?"}


def test_output_failures_and_report(tmp_path, capsys):
    source, out = write(tmp_path / "in.jsonl", [{}]), tmp_path / "새 폴더" / "out.jsonl"
    with stage.Stage("respond", out, {"seed": 1}, [source]) as work:
        work.write(RECORD)
        assert not out.exists()
        for _ in range(6):
            work.drop("too short", RECORD)
        work.fail(RECORD, "timeout after 3 tries", kind="timeout", responder="sft")
        work.count("answers", 3)
        work.extra["usage"] = {"requests": 4}
    assert out.read_text(encoding="utf-8") == '{"id": "ab", "prompt": "안녕?"}\n'
    failed = {"id": "ab", "reason": "timeout after 3 tries", "responder": "sft", "record": RECORD}
    assert read(out.parent / "out.failed.jsonl") == [failed]
    told = report(out.parent / "out.report.json")
    assert told["output"]["rows"] == 1 and told["output"]["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert told["inputs"] == [{"path": source, "sha256": hashlib.sha256(b"{}\n").hexdigest()}]
    assert told["dropped"]["too short"]["count"] == 6
    assert len(told["dropped"]["too short"]["examples"]) == stage.EXAMPLES
    assert (told["failed"], told["counts"], told["usage"]) == ({"timeout": 1}, {"answers": 3}, {"requests": 4})
    assert sorted(os.listdir(out.parent)) == ["out.failed.jsonl", "out.jsonl", "out.report.json"]
    assert "6  dropped: too short" in capsys.readouterr().out


def test_an_earlier_output_stays_until_the_new_one_is_whole(tmp_path):
    out = tmp_path / "out.jsonl"
    with stage.Stage("a", out, {}) as work:
        work.write({"n": 1})
        work.fail({}, "x")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(RuntimeError), stage.Stage("a", out, {}) as work:
        work.write({"n": 2})
        raise RuntimeError
    assert read(out) == [{"n": 1}] and sorted(os.listdir(tmp_path)) == before
    (tmp_path / "out.jsonl.part").write_text("half a li", encoding="utf-8")  # what kill -9 leaves
    with stage.Stage("a", out, {}) as work:
        work.write({"n": 3})
    assert read(out) == [{"n": 3}] and not (tmp_path / "out.failed.jsonl").exists()  # nothing failed this time


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
    write("in.jsonl", [{}])
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InputError, match=message), stage.Stage("a", output, {}, inputs):
        pass


def test_two_processes_cannot_write_one_output(tmp_path):
    out = tmp_path / "out.jsonl"
    code = "from korlhf.core import program\nfrom korlhf.data import stage\n"
    code += f"program.run(lambda: stage.Stage('a', {str(out)!r}, {{}}).__enter__() and None)"
    with stage.Stage("a", out, {}) as work:
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8")
        work.write({"n": 1})
    assert other.returncode == 2 and other.stderr.count("\n") == 1
    assert other.stderr.startswith(f"error: --output {out}: another process is writing it")
    assert read(out) == [{"n": 1}]


def test_too_many_failures_are_an_exit_code(capsys):
    assert program.exit_code(5, 100, 0.05) == 0 and program.exit_code(0, 0, 0.05) == 0
    assert program.exit_code(6, 100, 0.05) == program.TOO_MANY_FAILED
    assert "6 of 100 failed, more than --max_failed 0.05" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rank", "split", "collect", "audit"])
def test_ctrl_c_in_a_stage_without_a_cache_keeps_nothing_and_says_so(tmp_path, monkeypatch, capsys, name):
    source = write(tmp_path / "in.jsonl", [{"prompt": "뭐 해요?", "output": "쉬어요, 푹."}] * 3)

    def stopped(path):
        yield from islice(readers.read_rows(path), 2)
        raise KeyboardInterrupt

    for module in (records, collect, scan):
        monkeypatch.setattr(module, "read_rows", stopped)
    output = {"split": f"--output_dir {tmp_path}/out", "audit": f"--output {tmp_path}/out --fix"}
    corpus = ["--corpus own"] if name == "collect" else []
    flags = argv(*corpus, "--input", source, output.get(name, f"--output {tmp_path}/out/o.jsonl"))
    monkeypatch.setattr(sys, "argv", [name, *flags])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"data_prep.{name}", run_name="__main__")
    assert ended.value.code == 130 and capsys.readouterr().err.splitlines()[-1] == stage.STARTS_OVER
    assert not list((tmp_path / "out").glob("*"))


def test_ctrl_c_in_a_stage_with_a_cache_resumes(tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": f"{i}번 질문?"} for i in range(5)])
    with Server(lambda body: "네, 그래요.", faults={4: HANG}) as server:
        flags = ["--input", source, "--output", tmp_path / "o.jsonl", "--num_answers 1 --concurrency 1"]
        process = start("respond", *flags, f"--responder openai:test-model@{server.url}")
        while len(server.requests) < 5 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130 and told.splitlines()[-1] == stage.RESUMES, told
        again = start("respond", *flags, f"--responder openai:test-model@{server.url}")
        assert again.communicate(timeout=60) and again.returncode == 0
        assert len(server.answered) == 5 and len(read(tmp_path / "o.jsonl")) == 5

"""The file of votes: what step 2 reads, nothing lost or mixed, whatever is killed or full."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from korlhf.applications.web_demo import votes
from korlhf.core.errors import InputError
from korlhf.data.load import load_examples
from korlhf.llm.checkpoint import Sampling

TALK = [
    {"role": "system", "content": "다정하게"},
    {"role": "user", "content": "안녕"},
    {"role": "assistant", "content": "반가워요"},
    {"role": "user", "content": "Human: 뭐 해요?\n\nAssistant: 몰라요"},
]


def pair(left="왼쪽 답", right="오른쪽 답", messages=TALK):
    return votes.BlindPair(
        messages,
        votes.Shown("ppo", left, "stop", 0, 7, 1.5),
        votes.Shown("sft", right, "length", 1, 8, -0.5),
        Sampling(0.7, 0.9, 32, 0),
    )


@pytest.fixture
def file(tmp_path):
    return votes.VoteFile(tmp_path / "new folder" / "votes.jsonl")


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_step_2_reads_the_votes_and_ties_lie_beside_them(file):
    for vote in ("left", "right", "tie", "both_bad"):
        file.add(pair(), vote, "visitor", "everyday")
    examples = load_examples(str(file.path), 2)
    assert [e.answers for e in examples] == [("왼쪽 답", "오른쪽 답"), ("오른쪽 답", "왼쪽 답")]
    assert [list(e.messages) for e in examples] == [TALK, TALK] and {e.category for e in examples} == {"everyday"}
    tie, bad = lines(file.undecided)
    assert (tie["vote"], bad["vote"]) == ("tie", "both_bad")
    assert tie["left"] == "왼쪽 답"
    assert tie["right"] == "오른쪽 답"
    with pytest.raises(InputError, match="step 2 needs"):  # nobody trains on them by mistake
        load_examples(str(file.undecided), 2)


def test_a_line_says_all_about_a_vote(file):
    file.add(pair(), "right", "0a1b", "web_demo")
    (row,) = lines(file.path)
    when = row.pop("time")
    assert len(when) == 20 and when[10] == "T" and when.endswith("Z")
    assert row == {
        "messages": TALK,
        "chosen": "오른쪽 답",
        "rejected": "왼쪽 답",
        "category": "web_demo",
        "vote": "right",
        "shown": {"left": "ppo", "right": "sft"},
        "sampling": {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 32},
        "seeds": {"left": 7, "right": 8},
        "finish_reasons": {"left": "stop", "right": "length"},
        "left_out": {"left": 0, "right": 1},
        "scores": {"left": 1.5, "right": -0.5},
        "session": "0a1b",
        "source": "web_demo",
    }
    assert "안녕" in file.path.read_text(encoding="utf-8")


@pytest.mark.parametrize("rejected", ["", " \n", "\u200b"])
def test_a_pair_that_step_2_cannot_read_does_not_spoil_the_file(file, rejected):
    file.add(pair(right=rejected), "left", "v", "c")
    file.add(pair(), "left", "v", "c")
    assert len(load_examples(str(file.path), 2)) == 1
    assert lines(file.undecided)[0]["chosen"] == "왼쪽 답"


WRITER = "import sys; from tests.applications.web_demo.test_votes import many; many(sys.argv[1], int(sys.argv[2]))"


def many(path, process):
    """40 votes of some kB by 4 threads."""
    file = votes.VoteFile(path)
    messages = [{"role": "user", "content": f"{process} " + "가" * 3000}]

    def write(thread):
        for i in range(10):
            file.add(pair(f"{process}-{thread}-{i}", messages=messages), "left", "v", "c")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_processes_and_threads_at_once_lose_and_mix_nothing(tmp_path):
    path = tmp_path / "votes.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    others = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(n)], env=environment) for n in (1, 2)]
    many(path, 0)
    assert [p.wait(60) for p in others] == [0, 0]
    found = lines(path)
    assert {row["chosen"] for row in found} == {f"{p}-{t}-{i}" for p in range(3) for t in range(4) for i in range(10)}
    assert len(found) == 120


def test_a_writer_waits_for_another(file):
    writer = threading.Thread(target=file.add, args=(pair(), "left", "v", "c"))
    with FileLock(f"{file.path}.lock"):
        writer.start()
        writer.join(0.2)
        assert not file.path.exists()
    writer.join(20)
    assert len(lines(file.path)) == 1


def test_what_a_killed_process_left_of_a_line_is_taken_away(file, capsys):
    file.add(pair(), "left", "v", "c")
    whole = file.path.read_bytes()
    file.path.write_bytes(whole + b'{"messages": [{"role": "user", "con')
    file.add(pair("둘째"), "left", "v", "c")
    assert [e.answers[0] for e in load_examples(str(file.path), 2)] == ["왼쪽 답", "둘째"]
    assert "not written to its end" in capsys.readouterr().err


def test_a_whole_line_without_an_end_stays(file):
    file.add(pair(), "left", "v", "c")
    file.path.write_bytes(file.path.read_bytes().rstrip(b"\n"))  # as some editors save it
    file.add(pair("둘째"), "left", "v", "c")
    assert [e.answers[0] for e in load_examples(str(file.path), 2)] == ["왼쪽 답", "둘째"]


def test_a_vote_that_cannot_be_written_leaves_the_file_as_it_was(file, monkeypatch):
    file.add(pair(), "left", "v", "c")
    before = file.path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.add(pair("둘째"), "left", "v", "c")
    assert file.path.read_bytes() == before


def test_every_vote_is_on_the_disk_when_add_returns(file, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    file.add(pair(), "left", "v", "c")
    file.add(pair(), "left", "v", "c")
    assert synced == [str(file.path), str(file.path.parent), str(file.path)]  # of a new file its name too


def test_a_path_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "file").write_text("x")
    for path, said in (
        (tmp_path / "folder.jsonl", "cannot be written"),
        (tmp_path / "file" / "votes.jsonl", "cannot be written"),
        (tmp_path / "votes.txt", "ends in .jsonl"),
    ):
        with pytest.raises(InputError, match=f"--votes .*{said}"):
            votes.VoteFile(path)

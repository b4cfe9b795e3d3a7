"""The chat through a pipe, by its script, and what it says when it cannot begin."""

import contextlib
import io
import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from openai_server import error
from streaming_server import Server

from applications.chat import chat
from korlhf.applications.chat.conversation import AnswerStream
from korlhf.applications.chat.screen import Pipe
from korlhf.applications.chat.terminal import Chat
from korlhf.core import program

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "applications" / "chat" / "run_chat.sh"


@pytest.fixture
def run(monkeypatch, capsys):
    """Function: words..., what is typed -> (exit code, stdout, stderr); the program in this process."""

    def call(*words, typed=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        monkeypatch.setattr(logging, "disable", lambda level: None)
        with pytest.raises(SystemExit) as end:
            program.run(lambda: chat.main(words), chat.STOPPED)
        out = capsys.readouterr()
        return end.value.code, out.out, out.err

    return call


def pipe(text, *words):
    return subprocess.run(
        ["bash", str(SCRIPT), *words],
        input=text.encode("utf-8", "surrogateescape"),
        capture_output=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_every_line_of_a_pipe_is_a_message_and_only_answers_are_on_stdout():
    with Server() as server:
        done = pipe(
            "안녕\n\n/system 짧게.\n두 번째\n/nonsense\n/quit\n나머지\n",
            f"openai:test-model@{server.url}",
            "--temperature",
            "0.3",
        )
        assert done.stdout.decode() == "안녕\n두 번째\n" and done.returncode == 0, done.stderr.decode()
        assert done.stderr.decode() == "system message set\nthere is no /nonsense; /help shows what there is\n"
        assert [m["content"] for m in server.requests[1]["messages"]] == ["짧게.", "안녕", "안녕", "두 번째"]
        assert server.requests[0]["temperature"] == 0.3
        assert server.requests[0]["top_p"] == 1.0
        assert server.requests[0]["max_tokens"] == 256


def test_a_message_without_an_answer_is_an_exit_code_of_its_own():
    with Server(faults={0: error(400, "no")}) as server:
        done = pipe("안녕\n하세요", f"openai:test-model@{server.url}")
    assert done.returncode == 1
    assert done.stdout.decode() == "하세요\n"
    assert done.stderr.decode().startswith(f"error: {server.url}: it does not take")


def test_a_reader_that_has_had_enough_is_no_mishap():
    with Server() as server:
        done = subprocess.run(
            [
                "bash",
                "-c",
                '"$@" | head -c 3; exit "${PIPESTATUS[0]}"',
                "-",
                "bash",
                str(SCRIPT),
                f"openai:test-model@{server.url}",
            ],
            input="가나다라\n" * 50,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    assert done.stdout == "가" and done.stderr == "" and done.returncode == 141


def test_bytes_that_are_no_text_are_sent_as_replacements():
    with Server() as server:
        done = pipe("가\udcff나\n", f"openai:test-model@{server.url}")
        assert done.returncode == 0 and server.requests[0]["messages"][0]["content"] == "가\ufffd나"


def test_what_cannot_begin_is_one_line_and_exit_code_2(run, folders, tmp_path):
    cut, reward = tmp_path / "cut", tmp_path / "reward"
    shutil.copytree(folders["llama"], cut)
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-50])
    shutil.copytree(folders["llama"], reward)
    for words, says in (
        (["./no/such"], "--model_name_or_path ./no/such: no such folder"),
        ([str(tmp_path)], "no config.json"),
        ([str(cut)], "could not be loaded"),
        (["openai:m@http://127.0.0.1:9/v1"], "no connection"),
        (["openai:m", "--base_url", "x"], "--base_url x: is no address"),
        (["openai:"], "no model name"),
        ([folders["llama"], "--max_new_tokens", "128"], "has room for 128 tokens"),
        ([folders["llama"], "--reward_model", str(reward)], "not a reward model"),
        ([folders["llama"], "--system", "none.txt"], "--system none.txt"),
    ):
        code, out, err = run("--model_name_or_path", *words)
        lines = [line for line in err.splitlines() if line and "Loading weights" not in line]
        assert code == 2 and out == "" and len(lines) == 1 and says in lines[0] and lines[0].startswith("error: "), (
            words,
            err,
        )


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--temperature", "-1"], "must be 0 or above"),
        (["--top_p", "0"], "--top_p 0.0"),
        (["--max_new_tokens", "0"], "--max_new_tokens 0"),
        (["--dtype", "int4"], "--dtype"),
        (["--nonsense"], "unknown flags"),
    ],
)
def test_flags_that_cannot_work(run, flags, says):
    code, _, err = run("--model_name_or_path", "x", *flags)
    assert code == 2 and says in err


class Bot:
    """Answers "네"; `stop`: Ctrl-C comes while it does."""

    def __init__(self, stop=False):
        self.name, self.stop, self.asked = "bot", stop, []

    def ask(self, messages, sampling, sample=0):
        self.asked.append(messages)
        if self.stop:
            raise KeyboardInterrupt
        answer = AnswerStream()
        answer.put("네")
        answer.finish("stop")
        return answer


class Interrupted:
    """A scorer that Ctrl-C stops."""

    def score(self, messages, answer):
        raise KeyboardInterrupt


def test_ctrl_c_while_an_answer_is_scored_keeps_the_answer_and_the_chat(capsys):
    screen = Pipe()
    screen.interactive = True
    talk = Chat(Bot(), Interrupted(), None, "", screen)
    with contextlib.suppress(KeyboardInterrupt):  # else a failure would end the whole test run
        talk.take("안녕")
    assert talk.conversation.exchanges == [("안녕", "네")] and "(not scored)" in capsys.readouterr().err


@pytest.mark.parametrize("bot, scorer", [(Bot(stop=True), None), (Bot(), Interrupted())])
def test_ctrl_c_through_a_pipe_ends_the_program(bot, scorer):
    with pytest.raises(KeyboardInterrupt):
        Chat(bot, scorer, None, "", Pipe()).take("안녕")


def test_a_command_ends_at_any_blank(monkeypatch, capsys):
    bot = Bot()
    talk = Chat(bot, None, None, "", Pipe())
    for text in ("/system\t짧게.\n다정하게.", "/ reset", "안녕"):
        talk.take(text)
    assert talk.conversation.system == "짧게.\n다정하게."
    assert [m[-1]["content"] for m in bot.asked] == [
        "/ reset",
        "안녕",
    ]
    talk.take("/save")
    monkeypatch.setattr("sys.stdin", io.StringIO("/quit now\n나머지\n"))
    talk.run()
    assert len(bot.asked) == 2 and "error: /save: give the name" in capsys.readouterr().err


def test_a_model_of_ones_own_answers_a_pipe(run, folders):
    code, out, err = run(
        "--model_name_or_path",
        folders["llama"],
        "--max_new_tokens",
        "8",
        "--temperature",
        "0",
        typed="안녕\n고마워요\n",
    )
    assert code == 0 and out.count("\n") >= 2 and "error" not in err

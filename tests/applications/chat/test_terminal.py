"""The chat: commands in this process, lines through a pipe by its script, keys and screen in a real terminal."""

import contextlib
import io
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import warm
from openai_server import DROP, error
from pty_harness import ALT_ENTER, BACKSPACE, CTRL_C, CTRL_D, ENTER, LEFT, PROMPT, UP, Screen
from streaming_server import Server
from transformers import AutoModelForCausalLM, GPTNeoXConfig

from applications.chat import chat
from korlhf.applications.chat.conversation import AnswerStream
from korlhf.applications.chat.screen import Pipe
from korlhf.applications.chat.terminal import Chat
from korlhf.applications.ratings import RatingFile
from korlhf.core import program
from korlhf.core.ai_mark import BEFORE, MARK
from korlhf.data import load
from korlhf.data.tokenize import Codec
from korlhf.llm.checkpoint import Sampling
from korlhf.models import reward_model, save
from korlhf.models.tokenizer import load_tokenizer

SCRIPT = Path(__file__).resolve().parents[3] / "applications" / "chat" / "run_chat.sh"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GUARD": "off"}  # fitting it takes seconds


def said(body):
    return [m["content"] for m in body["messages"]]


# Commands

NOBODY = None, None  # neither scores nor guards


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
    talk = Chat(Bot(), (Interrupted(), None), None, "", screen)
    with contextlib.suppress(KeyboardInterrupt):  # else a failure would end the whole test run
        talk.take("안녕")
    assert talk.conversation.exchanges == [("안녕", "네")] and "(not scored)" in capsys.readouterr().err


@pytest.mark.parametrize("bot, scorer", [(Bot(stop=True), None), (Bot(), Interrupted())])
def test_ctrl_c_through_a_pipe_ends_the_program(bot, scorer):
    with pytest.raises(KeyboardInterrupt):
        Chat(bot, (scorer, None), None, "", Pipe()).take("안녕")


def test_helplines_stand_before_the_answer_and_never_instead_of_it(capsys):
    asked = []
    found = lambda messages: asked.append(messages[-1]["content"]) or (["self_harm"] if "힘들" in asked[-1] else [])  # noqa: E731
    bot = Bot()
    talk = Chat(bot, (None, found), Sampling(0.7, 1.0, 8, 3), "", Pipe())
    talk.take("안녕")
    assert capsys.readouterr().err == ""
    talk.take("힘들어요")
    out, err = capsys.readouterr()
    assert (
        out == "네\n" and len(bot.asked) == 2 and "109" in err and "자살예방 상담전화" in err and "Nobody has to" in err
    )
    talk.take("/regen")
    assert "109" in capsys.readouterr().err and asked == ["안녕", "힘들어요", "힘들어요"]
    assert talk.conversation.exchanges == [("안녕", "네"), ("힘들어요", "네")]


def test_a_command_ends_at_any_blank(monkeypatch, capsys):
    bot = Bot()
    talk = Chat(bot, NOBODY, None, "", Pipe())
    for text in ("/system\t짧게.\n다정하게.", "/ reset", "안녕"):
        talk.take(text)
    assert talk.conversation.system == "짧게.\n다정하게." and [m[-1]["content"] for m in bot.asked] == [
        "/ reset",
        "안녕",
    ]
    talk.take("/save")
    monkeypatch.setattr("sys.stdin", io.StringIO("/quit now\n나머지\n"))
    talk.run()
    assert len(bot.asked) == 2 and "error: /save: give the name" in capsys.readouterr().err


def test_good_and_bad_write_the_last_answer_as_the_web_demo_does(tmp_path, capsys):
    path = tmp_path / "new" / "ratings.jsonl"
    talk = Chat(Bot(), NOBODY, Sampling(0.7, 1.0, 8, 3), "다정하게", Pipe(), RatingFile(path))
    for text in (
        "/good",
        "안녕",
        "/top_p 0.5",
        "/seed 12",
        "/top_p 2",
        "/seed x",
        "또",
        "/good",
        "/bad",
        "/reset",
        "/bad",
    ):
        talk.take(text)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(r["label"], r["answer"], r["model"], len(r["messages"])) for r in rows] == [(False, "네", "bot", 4)]
    assert rows[0]["sampling"] == {"temperature": 0.7, "top_p": 0.5, "max_new_tokens": 8, "seed": 12}
    said = capsys.readouterr().err
    assert said.count("error: /good, /bad: there is no answer to rate") == 2
    assert "/top_p 2: give a number above 0 and at most 1 (it is 0.5)" in said
    assert "/seed x: give a whole number of 0 or above (it is 12)" in said
    Chat(Bot(), NOBODY, None, "", Pipe()).take("/good")
    assert "start the chat with --ratings FILE.jsonl" in capsys.readouterr().err


def test_what_cannot_begin_is_one_line_and_exit_code_2(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logging, "disable", lambda level: None)
    cut = tmp_path / "cut"
    shutil.copytree(folders["llama"], cut)
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-50])
    for words, says in (
        (["./no/such"], "--model_name_or_path ./no/such: no such folder"),
        ([str(tmp_path)], "no config.json"),
        ([str(cut)], "could not be loaded"),
        (["openai:m@http://127.0.0.1:9/v1"], "no connection"),
        (["openai:m", "--base_url", "x"], "--base_url x: is no address"),
        (["openai:"], "no model name"),
        ([folders["llama"], "--max_new_tokens", "128"], "has room for 128 tokens"),
        ([folders["llama"], "--reward_model", folders["llama"]], "not a reward model"),
        ([folders["llama"], "--system", "none.txt"], "--system none.txt"),
    ):
        with pytest.raises(SystemExit, match="2"):
            program.run(lambda words=words: chat.main(["--model_name_or_path", *words]), chat.STOPPED)
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if line and "Loading weights" not in line]
        assert out == "" and len(lines) == 1 and says in lines[0] and lines[0].startswith("error: "), (words, err)
    with pytest.raises(SystemExit, match="2"):
        chat.main(["--model_name_or_path", "x", "--temperature", "-1"])


# A pipe


def pipe(text, *words):
    text = text.encode("utf-8", "surrogateescape")
    command = ["bash", str(SCRIPT), *words]
    return subprocess.run(command, input=text, capture_output=True, timeout=120, env=ENVIRONMENT)


def test_every_line_of_a_pipe_is_a_message_and_only_answers_are_on_stdout():
    typed = "안녕\n\n/system 짧게.\n두 번째 \udcff\n/nonsense\n/quit\n나머지\n"  # with a byte that is no text
    with Server() as server:
        done = pipe(typed, f"openai:test-model@{server.url}", "--temperature", "0.3")
        assert done.stdout.decode() == "안녕\n두 번째 \ufffd\n" and done.returncode == 0, done.stderr.decode()
        assert done.stderr.decode() == "system message set\nthere is no /nonsense; /help shows what there is\n"
        assert said(server.requests[1]) == ["짧게.", "안녕", "안녕", "두 번째 \ufffd"]
        asked = server.requests[0]
        assert (asked["temperature"], asked["top_p"], asked["max_tokens"]) == (0.3, 1.0, 256)


def test_a_message_without_an_answer_is_an_exit_code_of_its_own():
    with Server(faults={0: error(400, "no")}) as server:
        done = pipe("안녕\n하세요", f"openai:test-model@{server.url}")
    assert done.returncode == 1 and done.stdout.decode() == "하세요\n"
    assert done.stderr.decode().startswith(f"error: {server.url}: it does not take")


def test_a_reader_that_has_had_enough_is_no_mishap():
    with Server() as server:
        script = f"bash {shlex.quote(str(SCRIPT))} openai:test-model@{server.url} | head -c 3; exit ${{PIPESTATUS[0]}}"
        command, typed = ["bash", "-c", script], ("가나다라\n" * 50).encode()
        done = subprocess.run(command, input=typed, capture_output=True, timeout=120, env=ENVIRONMENT)
    assert (done.stdout.decode(), done.stderr.decode(), done.returncode) == ("가", "", 141)


# A terminal


def terminal(model, tmp_path, *flags, python=sys.executable, **env):
    words = ["--model_name_or_path", model, "--history_file", str(tmp_path / "typed"), "--guard", "off", *flags]
    return Screen([python, chat.__file__, *words], **env)


def test_typing_answers_and_commands(tmp_path):
    saved = tmp_path / "새 폴더" / "talk.jsonl"
    with Server() as server, terminal(f"openai:test-model@{server.url}", tmp_path) as screen:
        shown = screen.shows(PROMPT)
        assert "test-model answers." in shown and all(line in shown for line in BEFORE.values())
        edits = (BACKSPACE * 3, "반가워요", LEFT * 6, BACKSPACE * 2, "세", LEFT, "하")  # wide characters
        shown = screen.enter("안녕하셔요 반가워", *edits)
        assert said(server.requests[0]) == ["안녕하세요 반가워요"] and shown.endswith("\n안녕하세요 반가워요\n")
        screen.enter("둘째 줄이", ALT_ENTER, "있어요")
        assert said(server.requests[1])[-1] == "둘째 줄이\n있어요"
        screen.enter(UP * 3, "!")  # an earlier message again, past the two lines of the last
        assert said(server.requests[2])[-1] == "안녕하세요 반가워요!"
        assert "\ntemperature 0\n" in screen.enter("/temperature 0")
        shown = screen.enter("/temperature 뜨겁게")
        assert "\nerror: /temperature 뜨겁게: give a number of 0 or above (it is 0)" in shown
        assert "system message set" in screen.enter("/system 반말로 답해.")
        assert "the answer is always the same" in screen.enter("/regen")
        body, first, second = server.requests[-1], "안녕하세요 반가워요", "둘째 줄이\n있어요"
        assert said(body) == ["반말로 답해.", first, first, second, second, "안녕하세요 반가워요!"]
        assert body["temperature"] == 0 and body["seed"] != server.requests[-2]["seed"]
        assert "there is no /nonsense" in screen.enter("/nonsense 1")
        assert "ends in .jsonl" in screen.enter("/save talk.txt")
        assert "has one more line" in screen.enter(f"/save {saved}")
        assert "a new conversation" in screen.enter("/reset")
        assert "there is no answer yet" in screen.enter(f"/save {saved}")
        assert "there is no message yet" in screen.enter("/regen")
        assert "/temperature X" in screen.enter("/help")
        assert "no system message" in screen.enter("/system")
        screen.enter("/안녕 이것은 명령이 아니에요")
        assert said(server.requests[-1]) == ["/안녕 이것은 명령이 아니에요"]
        screen.type("/quit", ENTER)
        assert screen.ends() == 0
    assert "Traceback" not in screen.text
    assert json.loads(saved.read_text(encoding="utf-8")).items() >= MARK.items()
    (example,) = load.load_step(1, [str(saved)], "1,0,0", eval_share=0.0)[0]
    assert example.messages[0]["content"] == "반말로 답해." and example.answers == ("안녕하세요 반가워요!",)
    assert (tmp_path / "typed").stat().st_mode & 0o777 == 0o600


def test_an_answer_cannot_drive_the_terminal_and_a_server_that_goes_away_costs_one_line(tmp_path):
    answer = "\x1b]0;pwned\x07\x1b[2J가\x9b31m\r나\tb\n다"
    (tmp_path / "typed").write_text("\n# then\n+어제 한 말\n", encoding="utf-8")  # in the session before
    faults = {1: DROP, 2: DROP, 3: DROP}
    quiet = ("--ai_notice", "off")
    with (
        Server(lambda body: answer, faults) as server,
        terminal(f"openai:test-model@{server.url}", tmp_path, *quiet) as screen,
    ):
        assert "생성형 AI" not in screen.shows(PROMPT)
        assert "\n]0;pwned[2J가31m나\tb\n다\n" in screen.enter(UP)
        assert said(server.requests[0]) == ["어제 한 말"]
        assert f"\nerror: --base_url {server.url}: no connection" in screen.enter("안녕")
        assert "가31m나" in screen.enter("/regen")
        screen.type(CTRL_D)
        assert screen.ends() == 0
    assert not any(code in screen.raw for code in ("\x1b]0;", "\x1b[2J", "\x9b")) and "Traceback" not in screen.text


def test_ctrl_c_stops_an_answer_and_twice_at_the_prompt_ends(tmp_path):
    gate = threading.Semaphore(0)
    with Server(gate=gate) as server, terminal(f"openai:test-model@{server.url}", tmp_path) as screen:
        server.answer = lambda body: "가나다라" * (25 if len(server.requests) > 1 else 10_000)
        screen.shows(PROMPT)
        screen.type("안녕", ENTER)
        gate.release(3)
        screen.shows("가나다")
        screen.type(CTRL_C)
        assert "stopped, and forgotten; /regen answers again" in screen.shows(PROMPT)
        gate.release(100_000)
        assert server.gone.acquire(timeout=30) and server.sent < 40_000  # the server has heard it
        assert "가나다라" * 20 in screen.enter("/regen")
        assert [said(body) for body in server.requests] == [["안녕"], ["안녕"]]
        assert server.requests[0]["seed"] != server.requests[1]["seed"]
        screen.type("그만", CTRL_C)
        assert "Ctrl-C again ends the chat" in screen.shows(PROMPT)
        screen.enter("네")
        assert said(server.requests[2])[::2] == ["안녕", "네"]
        screen.type(CTRL_C)
        assert "Ctrl-C again" in screen.shows(PROMPT)  # the one before does not count any more
        screen.type(CTRL_C)
        assert screen.ends() == 0
    assert "Traceback" not in screen.text


@pytest.fixture(scope="module")
def tiny(plain_tokenizer, tmp_path_factory):
    """(language model of 8000 positions that never ends a greedy answer, reward model)."""
    root = tmp_path_factory.mktemp("tiny")
    lm_path, reward_path = str(root / "lm"), str(root / "reward")
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    ends = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 2}
    more = {"max_position_embeddings": 8000, "initializer_range": 0.4, "tie_word_embeddings": False}
    lm = AutoModelForCausalLM.from_config(GPTNeoXConfig(vocab_size=400, **shape, **ends, **more))
    with torch.no_grad():
        lm.get_output_embeddings().weight[2] = 0
    lm.save_pretrained(lm_path)
    plain_tokenizer.save_pretrained(lm_path)
    tokenizer, reward = load_tokenizer(lm_path), reward_model.load_reward_model(lm_path, new_head=True)
    reward_model.set_padding(reward, tokenizer, Codec(tokenizer).eos_token_id)
    save.save_model(reward, reward.state_dict(), tokenizer, reward_path, "")
    return lm_path, reward_path


@pytest.mark.slow
def test_a_local_model_with_scores_and_a_context(tiny, tmp_path):
    lm, reward = tiny
    flags = ("--reward_model", reward, "--temperature", "0", "--max_new_tokens", "700", "--context_tokens", "900")
    with terminal(lm, tmp_path, *flags, python=warm.python(), **warm.FIXED) as screen:
        screen.shows(PROMPT, 120)
        screen.type("안녕", ENTER)  # seconds, if nothing stops it
        screen.shows("안녕")
        screen.shows_more(30)  # the answer has begun
        screen.type(CTRL_C)
        assert "stopped, and forgotten" in screen.shows(PROMPT)
        for text in ("하나요", "두울이요"):
            shown = screen.enter(text)
            assert abs(float(shown.rpartition("score ")[2])) < 99 and "(cut at --max_new_tokens 700)" in shown
        assert "(oldest exchanges that no longer fit and were left out: 1)" in shown and "\x1b[2mscore" in screen.raw
        assert "error: the message is too long: with its template it has " in screen.enter("말 " * 200)
        assert "has one more line" in screen.enter(f"/save {tmp_path}/talk.jsonl")
        screen.type(CTRL_D)
        assert screen.ends() == 0
    line = json.loads((tmp_path / "talk.jsonl").read_text(encoding="utf-8"))
    assert [m["content"] for m in line["messages"]][::2] == ["하나요", "두울이요"] and line["model"] == lm

"""The chat in a real terminal, keys in and screen out, against a server that streams and a model of one's own."""

import json
import sys
import threading
from pathlib import Path

import pytest
import torch
from openai_server import DROP
from pty_harness import ALT_ENTER, BACKSPACE, CTRL_C, CTRL_D, ENTER, LEFT, PROMPT, UP, Screen
from streaming_server import Server
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, GPTNeoXConfig

from korlhf.data import load
from korlhf.data.tokenize import Codec
from korlhf.models import reward_model, save
from korlhf.models.tokenizer import load_tokenizer

PROGRAM = Path(__file__).resolve().parents[3] / "applications" / "chat" / "chat.py"


def chat(model, tmp_path, *flags):
    return Screen(
        [sys.executable, str(PROGRAM), "--model_name_or_path", model, "--history_file", str(tmp_path / "typed"), *flags]
    )


def said(body):
    return [m["content"] for m in body["messages"]]


def test_typing_answers_and_commands(tmp_path):
    saved = tmp_path / "새 폴더" / "talk.jsonl"
    with Server() as server, chat(f"openai:test-model@{server.url}", tmp_path) as screen:
        assert "test-model answers." in screen.shows(PROMPT)
        shown = screen.enter(
            "안녕하셔요 반가워", BACKSPACE * 3, "반가워요", LEFT * 6, BACKSPACE * 2, "세", LEFT, "하"
        )  # wide characters, edited
        assert said(server.requests[0]) == ["안녕하세요 반가워요"] and shown.endswith("\n안녕하세요 반가워요\n")
        screen.enter("둘째 줄이", ALT_ENTER, "있어요")
        assert said(server.requests[1])[-1] == "둘째 줄이\n있어요"
        screen.enter(UP * 3, "!")  # an earlier message again, past the two lines of the last
        assert said(server.requests[2])[-1] == "안녕하세요 반가워요!"
        assert "\ntemperature 0\n" in screen.enter("/temperature 0")
        assert "\nerror: /temperature 뜨겁게: give a number of 0 or above (it is 0)" in screen.enter(
            "/temperature 뜨겁게"
        )
        assert "system message set" in screen.enter("/system 반말로 답해.")
        assert "the answer is always the same" in screen.enter("/regen")
        body = server.requests[-1]
        assert said(body) == [
            "반말로 답해.",
            "안녕하세요 반가워요",
            "안녕하세요 반가워요",
            "둘째 줄이\n있어요",
            "둘째 줄이\n있어요",
            "안녕하세요 반가워요!",
        ]
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
    (example,) = load.load_step(1, [str(saved)], "1,0,0", eval_share=0.0)[0]
    assert example.messages[0]["content"] == "반말로 답해." and example.answers == ("안녕하세요 반가워요!",)
    assert (tmp_path / "typed").stat().st_mode & 0o777 == 0o600
    with Server() as server, chat(f"openai:test-model@{server.url}", tmp_path) as screen:
        screen.shows(PROMPT)
        screen.enter(UP, UP)  # typed in the session before
        screen.type(CTRL_D)
        assert screen.ends() == 0 and said(server.requests[0]) == ["/안녕 이것은 명령이 아니에요"]


def test_ctrl_c_stops_an_answer_and_twice_at_the_prompt_ends(tmp_path):
    gate = threading.Semaphore(0)
    with Server(gate=gate) as server, chat(f"openai:test-model@{server.url}", tmp_path) as screen:
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


def test_an_answer_cannot_drive_the_terminal(tmp_path):
    answer = "\x1b]0;pwned\x07\x1b[2J가\x9b31m\r나\tb\n다"
    with Server(lambda body: answer) as server, chat(f"openai:test-model@{server.url}", tmp_path) as screen:
        screen.shows(PROMPT)
        assert "\n]0;pwned[2J가31m나\tb\n다\n" in screen.enter("안녕")
        screen.type("/quit", ENTER)
        assert screen.ends() == 0
    assert "\x1b]0;" not in screen.raw and "\x1b[2J" not in screen.raw and "\x9b" not in screen.raw


def test_a_server_that_goes_away_costs_one_line(tmp_path):
    with (
        Server(faults={0: DROP, 1: DROP, 2: DROP}) as server,
        chat(f"openai:test-model@{server.url}", tmp_path) as screen,
    ):
        screen.shows(PROMPT)
        assert f"\nerror: --base_url {server.url}: no connection" in screen.enter("안녕")
        assert "\n안녕\n" in screen.enter("/regen")
        screen.type("/quit", ENTER)
        assert screen.ends() == 0
    assert "Traceback" not in screen.text


@pytest.fixture(scope="module")
def tiny(plain_tokenizer, tmp_path_factory):
    """(language model of 8000 positions that never ends a greedy answer, reward model)."""
    root = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=400,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8000,
        bos_token_id=2,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.4,
        tie_word_embeddings=False,
    )
    lm = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        lm.get_output_embeddings().weight[2] = 0
    lm.save_pretrained(root / "lm")
    plain_tokenizer.save_pretrained(root / "lm")
    tokenizer, reward = (
        load_tokenizer(str(root / "lm")),
        reward_model.load_reward_model(str(root / "lm"), new_head=True),
    )
    reward_model.set_padding(reward, tokenizer, Codec(tokenizer).stop_id)
    save.save_model(reward, reward.state_dict(), tokenizer, root / "reward", "", AutoModelForSequenceClassification)
    return str(root / "lm"), str(root / "reward")


def test_a_model_of_ones_own_with_scores_and_a_context(tiny, tmp_path):
    lm, reward = tiny
    flags = ("--reward_model", reward, "--temperature", "0", "--max_new_tokens", "700", "--context_tokens", "900")
    with chat(lm, tmp_path, *flags) as screen:
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

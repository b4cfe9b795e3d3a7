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

from korlhf import models, reward_model
from korlhf.data import load
from korlhf.data.tokenize import Codec

PROGRAM = Path(__file__).resolve().parents[3] / "applications" / "chat" / "chat.py"


def chat(model, tmp_path, *flags):
    return Screen([sys.executable, str(PROGRAM), "--model_name_or_path", model, "--history_file", str(tmp_path / "typed"), *flags])


def said(body):
    return [m["content"] for m in body["messages"]]


def test_typing_answers_and_commands(tmp_path):
    saved = tmp_path / "새 폴더" / "talk.jsonl"
    with Server() as server, chat(f"openai:test-model@{server.url}", tmp_path) as screen:
        screen.shows("test-model answers.")
        screen.shows(PROMPT)
        screen.type("안녕하셔요 반가워", BACKSPACE * 3, "반가워요", LEFT * 6, BACKSPACE * 2, "세", LEFT, "하", ENTER)  # wide characters, edited
        screen.shows(PROMPT)
        assert said(server.requests[0]) == ["안녕하세요 반가워요"]
        screen.type("둘째 줄이", ALT_ENTER, "있어요", ENTER)
        screen.shows(PROMPT)
        assert said(server.requests[1])[-1] == "둘째 줄이\n있어요"
        screen.type(UP * 3, "!", ENTER)                                # an earlier message again
        screen.shows(PROMPT)
        screen.type("/temperature 0", ENTER)
        screen.shows("temperature 0")
        screen.type("/temperature 뜨겁게", ENTER)
        screen.shows("error: /temperature 뜨겁게: give a number of 0 or above (it is 0)")
        screen.type("/system 반말로 답해.", ENTER)
        screen.shows("system message set")
        screen.type("/regen", ENTER)
        screen.shows("the answer is always the same")
        screen.shows(PROMPT)
        body = server.requests[-1]
        assert said(body) == ["반말로 답해.", "안녕하세요 반가워요", "안녕하세요 반가워요", "둘째 줄이\n있어요", "둘째 줄이\n있어요", "안녕하세요 반가워요!"]
        assert body["temperature"] == 0 and body["seed"] != server.requests[-2]["seed"]
        screen.type("/nonsense 1", ENTER)
        screen.shows("there is no /nonsense")
        screen.type("/save talk.txt", ENTER)
        screen.shows("ends in .jsonl")
        screen.type(f"/save {saved}", ENTER)
        screen.shows("has one more line")
        screen.type("/reset", ENTER)
        screen.shows("a new conversation")
        screen.type(f"/save {saved}", ENTER)
        screen.shows("there is no answer yet")
        screen.type("/regen", ENTER)
        screen.shows("there is no message yet")
        screen.type("/help", ENTER)
        assert "/temperature X" in screen.shows("arrow keys")
        screen.type("/system", ENTER)
        screen.shows("no system message")
        screen.type("/안녕 이것은 명령이 아니에요", ENTER)
        screen.shows(PROMPT)
        assert said(server.requests[-1]) == ["/안녕 이것은 명령이 아니에요"]
        screen.type("/quit", ENTER)
        assert screen.ends() == 0
    assert "Traceback" not in screen.text and "CPR" not in screen.text
    example, = load.load_step(1, [str(saved)], "1,0,0", eval_share=0.0)[0]
    assert example.messages[0]["content"] == "반말로 답해." and example.answers == ("안녕하세요 반가워요!",)
    assert (tmp_path / "typed").stat().st_mode & 0o777 == 0o600
    with Server() as server, chat(f"openai:test-model@{server.url}", tmp_path) as screen:
        screen.shows(PROMPT)
        screen.type(UP, UP, ENTER)                                    # typed in the session before
        screen.shows(PROMPT)
        screen.type(CTRL_D)
        assert screen.ends() == 0 and said(server.requests[0]) == ["/안녕 이것은 명령이 아니에요"]


def test_ctrl_c_stops_an_answer_and_twice_at_the_prompt_ends(tmp_path):
    gate = threading.Semaphore(0)
    with Server(lambda body: "가나다라" * 100, gate=gate) as server, chat(f"openai:test-model@{server.url}", tmp_path) as screen:
        screen.shows(PROMPT)
        screen.type("안녕", ENTER)
        gate.release(3)
        screen.shows("가나다")
        screen.type(CTRL_C)
        screen.shows("stopped, and forgotten; /regen answers again")
        gate.release(10_000)
        assert server.gone.acquire(timeout=30) and server.sent < 400  # the server has heard it
        screen.shows(PROMPT)
        screen.type("/regen", ENTER)
        screen.shows("라" + "가나다라" * 20)
        screen.shows(PROMPT)
        assert [said(body) for body in server.requests] == [["안녕"], ["안녕"]] and server.requests[0]["seed"] != server.requests[1]["seed"]
        screen.type(CTRL_C)
        screen.shows("Ctrl-C again ends the chat")
        screen.shows(PROMPT)
        screen.type("네", ENTER)
        screen.shows("가나다라" * 20)
        screen.shows(PROMPT)
        assert said(server.requests[2])[::2] == ["안녕", "네"]
        screen.type(CTRL_C)
        screen.shows("Ctrl-C again")                                  # the one before does not count any more
        screen.type(CTRL_C)
        assert screen.ends() == 0
    assert "Traceback" not in screen.text


def test_an_answer_cannot_drive_the_terminal(tmp_path):
    with Server(lambda body: "\x1b]0;pwned\x07\x1b[2J가\x9b31m\r나\tb\n다") as server, chat(f"openai:test-model@{server.url}", tmp_path) as screen:
        screen.shows(PROMPT)
        screen.type("안녕", ENTER)
        screen.shows("]0;pwned[2J가31m나\tb\n다")
        screen.shows(PROMPT)
        screen.type("/quit", ENTER)
        assert screen.ends() == 0
    assert "\x1b]0;" not in screen.raw and "\x1b[2J" not in screen.raw and "\x9b" not in screen.raw


def test_a_server_that_goes_away_costs_one_line(tmp_path):
    with Server(faults=lambda number, body: DROP) as server, chat(f"openai:test-model@{server.url}", tmp_path) as screen:
        screen.shows(PROMPT)
        screen.type("안녕", ENTER)
        screen.shows("error: --base_url")
        screen.shows("no connection")
        screen.shows(PROMPT)
        screen.type("/quit", ENTER)
        assert screen.ends() == 0
    assert "Traceback" not in screen.text


@pytest.fixture(scope="module")
def tiny(plain_tokenizer, tmp_path_factory):
    """(language model of 8000 positions that never ends a greedy answer, reward model)."""
    root = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = GPTNeoXConfig(vocab_size=400, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=8000,
                           bos_token_id=2, eos_token_id=2, pad_token_id=2, initializer_range=0.4, tie_word_embeddings=False)
    lm = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        lm.get_output_embeddings().weight[2] = 0
    lm.save_pretrained(root / "lm")
    plain_tokenizer.save_pretrained(root / "lm")
    tokenizer, reward = models.load_tokenizer(str(root / "lm")), reward_model.load_reward_model(str(root / "lm"), new_head=True)
    reward_model.set_padding(reward, tokenizer, Codec(tokenizer).stop_id)
    models.save_model(reward, reward.state_dict(), tokenizer, root / "reward", "", AutoModelForSequenceClassification)
    return str(root / "lm"), str(root / "reward")


def test_a_model_of_ones_own_with_scores_and_a_context(tiny, tmp_path):
    lm, reward = tiny
    with chat(lm, tmp_path, "--reward_model", reward, "--temperature", "0", "--max_new_tokens", "7000", "--context_tokens", "7200") as screen:
        screen.shows(PROMPT, 120)
        screen.type("안녕", ENTER)                                     # minutes, if nothing stops it
        screen.shows("안녕")
        screen.shows_more(30)                                         # the answer has begun
        screen.type(CTRL_C)
        screen.shows("stopped, and forgotten")
        screen.shows(PROMPT)
        screen.type("말 " * 900, ENTER)
        screen.shows("error: the message is too long: with its template it has ")
        screen.shows(PROMPT)
        screen.type("/quit", ENTER)
        assert screen.ends() == 0
    with chat(lm, tmp_path, "--reward_model", reward, "--max_new_tokens", "30", "--context_tokens", "130", "--temperature", "1") as screen:
        screen.shows(PROMPT, 120)
        for text in ("하나요", "두울이요", "셋이에요"):
            screen.type(text, ENTER)
            screen.shows("score ")
            assert abs(float(screen.shows(PROMPT))) < 99
        assert "\x1b[2mscore" in screen.raw and "were left out)" in screen.text and "(cut at --max_new_tokens 30)" in screen.text
        screen.type(f"/save {tmp_path}/talk.jsonl", ENTER)
        screen.shows("has one more line")
        screen.type(CTRL_D)
        assert screen.ends() == 0
    line = json.loads((tmp_path / "talk.jsonl").read_text(encoding="utf-8"))
    assert [m["content"] for m in line["messages"]][::2] == ["하나요", "두울이요", "셋이에요"] and line["model"] == lm

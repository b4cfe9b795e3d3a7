"""Questions with lettered options: asked of a real HTTP server, read strictly, their probabilities by hand."""

import json
import math

import pytest
from openai_server import Server

from korlhf.judges import choice as choices
from korlhf.judges.choice import Choice, Question
from korlhf.llm import client as llm
from korlhf.llm.cache import Cache
from korlhf.llm.flags import LlmFlags
from korlhf.llm.protocol import Reply

TWO = Question("당신은 심판입니다.", "어느 쪽이 좋은가요?", ("앞", "뒤"))
THREE = Question("당신은 심판입니다.", "어느 쪽이 더 좋은가요?", ("앞", "뒤", "비김"))


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)


def client(server, folder):
    return llm.Client(LlmFlags(base_url=server.url), Cache(folder / "cache.sqlite"))


def token(text, **alternatives):
    """A token with its alternatives, probabilities as given."""
    top = [{"token": t, "logprob": math.log(p)} for t, p in alternatives.items()]
    return {"token": text, "logprob": next((t["logprob"] for t in top if t["token"] == text), 0.0), "top": top}


def reply(text, *tokens):
    return Reply(text, "stop", list(tokens) or None, 0, 0)


def read(text, *tokens, count=3):
    return choices.read(count, reply(text, *tokens))


@pytest.mark.parametrize("text", ["B", " B.\n", "(B)", "**B**", '"B"', '{"choice": "B"}'])
def test_replies_that_are_read(text):
    assert read(text).best == 1


@pytest.mark.parametrize(
    "text",
    ["", "D", "AB", "A or B", "답은 A입니다", "a", "1", '{"choice": "D"}', '{"choice": "AB"}', '{"answer": "A"}'],
)
def test_replies_that_are_not(text):
    with pytest.raises(ValueError, match="is none of A, B, C"):
        read(text)


def test_probabilities_of_the_letters_by_hand():
    found = read("A", token("A", **{"A": 0.5, "B": 0.2, " B": 0.1, "다": 0.1, "C": 0.05, "AB": 0.05}))
    assert (
        found == Choice(tuple(pytest.approx(p / 0.85) for p in (0.5, 0.3, 0.05)), choices.PROBABILITIES)
        and found.best == 0
    )
    inside = [token('{"'), token("choice"), token('": "'), token("B", **{"A": 0.4, "B": 0.6}), token('"}')]
    assert read('{"choice": "B"}', *inside).probabilities == pytest.approx((0.4, 0.6, 0.0))
    spaced = read("B", token("▁B", **{"▁B": 0.9, "A": 0.1}))  # as some vocabularies write a space
    assert spaced.probabilities == pytest.approx((0.1, 0.9, 0.0))


@pytest.mark.parametrize(
    "tokens",
    [
        (),
        (token("A"),),  # no alternatives
        (token("A", A=0.5, B=0.5), token("B", A=0.5, B=0.5)),  # two letters: which of them was the choice?
        (token("AB", A=0.5, B=0.5),),  # no token is the letter
        ({**token("A"), "top": [{"token": "B", "logprob": -9999.0}], "logprob": -9999.0},),  # forced on the model
    ],
)
def test_without_probabilities_the_pick_is_certain(tokens):
    assert read("A", *tokens) == Choice((1.0, 0.0, 0.0), choices.GREEDY)


def test_a_server_is_asked_and_answers_come_in_order(tmp_path):
    """Questions of two and of three options together; equal ones are sent once."""

    def answer(body):
        return "C" if "더 좋은가요" in body["messages"][-1]["content"] else json.dumps({"choice": "B"})

    with Server(answer) as server:
        found = choices.ask(client(server, tmp_path), "test-model", (False, False), [THREE, TWO, THREE], "")
        assert [c.best for c in found] == [2, 1, 2] and [len(c.probabilities) for c in found] == [3, 2, 3]
        assert (
            len(server.requests) == 2
            and choices.ask(client(server, tmp_path), "test-model", (False, False), [], "") == []
        )

"""korlhf/llm/scripted.py: what cannot be asked is told before anything is."""

import pytest
from openai_server import Server, error

from korlhf.core.errors import InputError
from korlhf.llm import responders, scripted
from korlhf.llm.checkpoint import Sampling
from korlhf.llm.flags import LlmFlags, SamplerFlags
from korlhf.llm.protocol import Failure
from korlhf.llm.responders import Responder, Setup

SCRIPTS = [["안녕?", "뭐 해?"]]


def setup(cache, url=None):
    return Setup(Sampling(0.0, 1.0, 5, 3), 1, SamplerFlags(dtype="fp32"), LlmFlags(base_url=url), cache)


def test_a_folder_that_is_none_is_told_before_a_server_is_asked(cache, tmp_path):
    with Server(lambda body: "네") as server:
        who = [Responder("gpt", "test-model", "server", server.url), Responder("b", str(tmp_path / "b"), "checkpoint")]
        with pytest.raises(InputError, match="--responder .*b"):
            scripted.answers(who, SCRIPTS, setup(cache, server.url))
        assert server.requests == []


def test_a_checkpoint_is_opened_once(cache, folders, monkeypatch):
    opened = []
    whole = responders.Checkpoint
    monkeypatch.setattr(
        responders, "Checkpoint", lambda path, *how, **more: opened.append(path) or whole(path, *how, **more)
    )
    out, _ = scripted.answers([Responder("neox", folders["gpt_neox"], "checkpoint")], SCRIPTS, setup(cache))
    assert opened == [folders["gpt_neox"]] and len(out["neox"][0]) == 2


def test_after_a_failure_nothing_more_is_asked(cache):
    with Server(lambda body: "네", lambda number, body: error(400)) as server:
        who = [Responder("gpt", "test-model", "server", server.url)]
        out, how = scripted.answers(who, SCRIPTS, setup(cache, server.url))
        first, second = out["gpt"][0]
        assert isinstance(first, Failure) and second is first and len(server.requests) == 1 and list(how) == ["gpt"]

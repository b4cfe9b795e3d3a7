"""Uploads, over real HTTP to a hub on loopback: private unless told otherwise, one line if it fails."""

import functools

import huggingface_hub
import pytest
from hub_server import Hub

from korlhf.applications.export import hub
from korlhf.core.errors import InputError

FILES = {"README.md": "# 모델\n", "model.safetensors": "가" * 1000, "sub/more.json": "{}"}


@pytest.fixture
def push(monkeypatch, tmp_path):
    """Function: server, name, public -> address."""
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    (tmp_path / "sub").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")

    def call(server, name="me/bot", public=False):
        monkeypatch.setattr(hub, "HfApi", functools.partial(huggingface_hub.HfApi, endpoint=server.url))
        return hub.push(tmp_path, name, public, "apache-2.0", yes=True)

    return call


def test_a_new_repository_is_private_and_gets_every_file(push, capsys):
    with Hub() as server:
        assert push(server) == f"{server.url}/me/bot"
        assert server.repositories["me/bot"] == {"private": True} and server.tokens == {"Bearer hf_test"}
        assert server.files["me/bot"] == {name: text.encode() for name, text in FILES.items()}
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"to be uploaded to {server.url}/me/bot, private, licence apache-2.0:"
    sizes = ["9 README.md", "3,000 model.safetensors", "2 sub/more.json", "3,011 bytes in 3 files"]
    assert [" ".join(line.split()) for line in rest] == sizes


def test_a_repository_that_is_public_already_is_refused(push):
    with Hub({"me/bot": {"private": False}, "me/mine": {"private": True}}) as server:
        with pytest.raises(InputError, match="public already; give --public"):
            push(server)
        assert server.files == {}
        assert push(server, "me/bot", public=True) and push(server, "me/mine", public=True)
        assert server.repositories["me/mine"] == {"private": True}


def test_what_fails_is_one_line(push):
    for server, words in ((Hub(refuse=403), ".*not for you.*push it again"), (Hub(), "")):
        with server, pytest.raises(InputError, match=f"--push_to_hub me/bot: {words}") as error:
            if not words:
                server.http.server_close()  # nobody there
            push(server)
        assert "\n" not in str(error.value)
    for name in ("bot", "a/b/c", "me/b..t", "me/"):
        with pytest.raises(InputError, match=f"--push_to_hub {name}: "):
            hub.check_ready(name)

"""Uploads, over real HTTP to a hub on loopback: private unless told otherwise, nothing before a yes, one line if it
fails."""

import functools

import huggingface_hub
import pytest
from hub_server import Hub

from korlhf.applications.export import hub
from korlhf.core.errors import InputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, text in {
        "README.md": "---\nlicense: apache-2.0\n---\n# 모델\n",
        "model.safetensors": "가" * 1000,
        "sub/more.json": "{}",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def push(monkeypatch, folder):
    """Function: server, name, public, yes -> (address, the questions that were asked)."""
    monkeypatch.setenv("HF_TOKEN", "hf_test")

    def call(server, name="me/bot", public=False, yes=True):
        monkeypatch.setattr(hub, "HfApi", functools.partial(huggingface_hub.HfApi, endpoint=server.url))
        asked = []
        return hub.push(folder, name, public, "apache-2.0", lambda question: asked.append(question) or yes), asked

    return call


def test_a_new_repository_is_private_and_gets_every_file(push, folder, capsys):
    with Hub() as server:
        address, asked = push(server)
        assert address == f"{server.url}/me/bot" and len(asked) == 1
        assert server.repositories["me/bot"] == {"private": True} and server.tokens == {"Bearer hf_test"}
        assert server.files["me/bot"] == {
            p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
        }
    shown = capsys.readouterr().out
    assert f"to be uploaded to {server.url}/me/bot, private, licence apache-2.0:" in shown
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["37", "README.md"],
        ["3,000", "model.safetensors"],
        ["2", "sub/more.json"],
        ["3,039", "bytes", "in", "3", "files"],
    ]


def test_a_repository_that_is_public_already_is_refused(push):
    with Hub({"me/bot": {"private": False}, "me/mine": {"private": True}}) as server:
        with pytest.raises(InputError, match="public already; give --public"):
            push(server)
        assert server.created == [] and server.files == {}
        assert push(server, "me/bot", public=True)[0] and push(server, "me/mine")[0]
        assert server.repositories["me/mine"] == {"private": True}


def test_what_fails_is_one_line(push, folder, monkeypatch):
    with (
        Hub(refuse=403) as server,
        pytest.raises(InputError, match="--push_to_hub me/bot: .*not for you.*push it again") as error,
    ):
        push(server)
    assert "\n" not in str(error.value)
    with Hub() as server:
        pass
    with pytest.raises(InputError, match="--push_to_hub me/bot: "):  # nobody there
        push(server)
    for name, words in (
        ("bot", "give OWNER/NAME"),
        ("a/b/c", "--push_to_hub a/b/c"),
        ("me/b..t", "--push_to_hub me/b..t"),
        ("me/", "--push_to_hub"),
    ):
        with pytest.raises(InputError, match=words):
            hub.check_name(name)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(InputError, match="no token for the hub; run `hf auth login`"):
        push(server)

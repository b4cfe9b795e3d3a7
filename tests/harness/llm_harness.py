"""A client on a cache file of the test's own, and requests for it."""

import pytest
from openai_server import Server

from korlhf.llm import client as llm
from korlhf.llm.flags import LlmFlags

TEXTS = [f"{i}번째 질문이에요" for i in range(300)]


@pytest.fixture(autouse=True)
def quick_and_without_keys(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(tmp_path):
    """Function: (server or address, flags) -> a Client on this test's one cache file."""
    opened = []

    def make(server, **given):
        opened.append(llm.Cache(tmp_path / "cache.sqlite"))
        url = server.url if isinstance(server, Server) else server
        return llm.Client(LlmFlags(base_url=url, **{"request_timeout": 20.0, **given}), opened[-1])

    yield make
    for cache in opened:
        cache.__exit__()


def requests(texts, **more):
    return [llm.Request({"model": "test-model", "messages": [{"role": "user", "content": t}], **more}) for t in texts]


def texts_of(results):
    return [reply.text if isinstance(reply, llm.Reply) else reply for reply, _ in results]

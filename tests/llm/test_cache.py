"""The cache: what is kept, what people see in it, what is no cache."""

import json
import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from llm_harness import client, quick_and_without_keys, requests  # noqa: F401 (fixtures)
from openai_server import Server

from korlhf.core.errors import InputError
from korlhf.llm.cache import Cache, cache_key
from korlhf.llm.client import open_cache
from korlhf.llm.flags import LlmFlags


def test_people_can_read_the_cache(client, tmp_path):
    with Server() as server:
        client(server).ask(requests(["한글로 물어요"]))
    with sqlite3.connect(tmp_path / "cache.sqlite") as db:
        [(key, request, reply, created)] = db.execute("SELECT key, request, reply, created FROM answers")
    assert (
        len(key) == 64
        and "한글로 물어요" in request
        and json.loads(reply)["text"] == "한글로 물어요"
        and created[:2] == "20"
    )
    assert json.loads(request) == {
        "base_url": server.url,
        "body": requests(["한글로 물어요"])[0].body,
        "sample": 0,
        "attempt": 0,
    }


def test_a_cache_by_itself(tmp_path):
    with Cache(tmp_path / "새 폴더" / "cache.sqlite") as cache, Cache(cache.path) as other:
        cache.put_many([("가", {"text": "하나"}), ("나", {"text": "둘"}, {"prompt": "?"})])
        other.put("가", {"text": "다른 답"})
        assert [c.get(k) for c in (cache, other) for k in "가나다"] == [{"text": "하나"}, {"text": "둘"}, None] * 2
        with pytest.raises(TypeError):
            cache.put_many([("라", {"text": "넷"}), ("마", {"text": object()})])
        assert other.get("라") is None and cache_key({"b": [1], "a": "가"}) == cache_key(
            {"a": "가", "b": (1,)}
        ) != cache_key({})


@pytest.mark.parametrize(
    "make", [Path.mkdir, lambda path: path.write_text("This is no database. " * 100)], ids=["folder", "text"]
)
def test_what_is_no_cache(tmp_path, make):
    make(tmp_path / "cache.sqlite")
    with pytest.raises(InputError, match="--cache .*cache.sqlite: .*another file") as caught:
        Cache(tmp_path / "cache.sqlite")
    assert "\n" not in str(caught.value)


def test_where_the_cache_is(tmp_path):
    with open_cache(LlmFlags(), tmp_path / "out" / "answers.jsonl") as cache:
        assert cache.path == tmp_path / "out" / "llm_cache.sqlite" and cache.path.exists()
    with open_cache(LlmFlags(cache=str(tmp_path / "mine.db")), tmp_path / "answers.jsonl") as cache:
        assert cache.path == tmp_path / "mine.db"


def make_when_told(path, barrier, failed):
    barrier.wait()
    try:
        Cache(path)
    except InputError as error:
        failed.put(str(error))


def test_several_processes_make_one_cache_at_once(tmp_path):
    """Without patience one of a few tries fails."""
    fork = multiprocessing.get_context("fork")
    failed = fork.Queue()
    for i in range(15):
        told = (tmp_path / f"{i}.sqlite", fork.Barrier(4), failed)
        processes = [fork.Process(target=make_when_told, args=told) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
    assert failed.empty(), failed.get()

"""The client in processes of its own: killed, interrupted, two on one cache."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import count

import pytest
from llm_harness import TEXTS, client, quick_and_without_keys, requests, texts_of  # noqa: F401 (fixtures)
from openai_server import Server

pytestmark = pytest.mark.slow

PROGRAM = """
import json, sys
from korlhf.core import program
from korlhf.llm import cache, client, flags
def main():
    url, path, n, concurrency = sys.argv[1:]
    bodies = [{"model": "test-model", "messages": [{"role": "user", "content": f"{i}번째"}]} for i in range(int(n))]
    with cache.Cache(path) as opened:
        given = flags.LlmFlags(base_url=url, concurrency=int(concurrency))
        found = client.Client(given, opened).ask(map(client.Request, bodies))
    print(json.dumps([reply.text for reply, _ in found]))
program.run(main, "start the same command again")
"""


def start(server, cache, n, concurrency):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, server.url, str(cache), str(n), str(concurrency)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"},
    )


def wait_for_answers(server, n):
    deadline = time.monotonic() + 60
    while len(server.answered) < n:
        assert time.monotonic() < deadline, "the program has not got that far"
        time.sleep(0.005)


def test_killed_and_started_again(client, tmp_path):
    """kill -9 in the middle, Ctrl-C later, then left alone: every answer is bought once, but those in flight."""
    numbers, expected, gates = count(), [f"{i}번째" for i in range(120)], [threading.Event() for _ in range(3)]

    def answer(body):
        number = next(numbers)
        gates[min(number // 40, 2)].wait(60)  # no run gets further than it should before its signal
        return f"{body['messages'][0]['content']} {number}"

    with Server(answer) as server:
        for gate, sent in enumerate((signal.SIGKILL, signal.SIGINT)):
            gates[gate].set()
            process = start(server, tmp_path / "cache.sqlite", 120, 4)
            wait_for_answers(server, 40 * gate + 30)
            process.send_signal(sent)
            out, err = process.communicate(timeout=60)
            assert out == ""
        assert process.returncode == 130 and "start the same command again" in err
        gates[2].set()
        with sqlite3.connect(tmp_path / "cache.sqlite") as db:
            kept = {json.loads(reply)["text"] for (reply,) in db.execute("SELECT reply FROM answers")}
        found = texts_of(client(server, concurrency=4).ask(requests(expected)))
        assert [f.split()[0] for f in found] == expected and len(kept) >= 60 and kept <= set(found)
        asked = Counter(server.prompts(server.answered))
        assert set(asked) == set(expected) and len(server.answered) <= 120 + 2 * 4
        assert texts_of(client(server).ask(requests(expected))) == found  # and now for good


def test_two_processes_and_one_cache(tmp_path):
    """Both end with the same answers, whichever got each first."""
    numbers, both_are_here = count(), threading.Barrier(2)

    def answer(body):
        number = next(numbers)
        if number < 2:
            both_are_here.wait(30)  # each process has one worker, so they ask for the first text at the same time
        return str(number)

    with Server(answer, delay=0.005) as server:
        both = [start(server, tmp_path / "cache.sqlite", 60, 1) for _ in range(2)]
        (one, _), (two, err) = [p.communicate(timeout=60) for p in both]
    assert one == two and len(json.loads(one)) == 60, err

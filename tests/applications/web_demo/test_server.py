"""The demo as a process: twenty visitors at once, visitors who leave, what it opens and refuses to open, Ctrl-C."""

import os
import signal
import socket
import sys
import threading
from http.client import HTTPConnection
from types import SimpleNamespace

import pytest
from app_server import wait_for
from free_port import free_port
from web_demo_harness import GREEDY, Client, echo, serve  # noqa: F401 (fixtures)

from applications.web_demo import web_demo
from korlhf.applications import web
from korlhf.applications.chat.local_bot import LocalBot
from korlhf.applications.shield import Punctual, Shield
from korlhf.core.errors import InputError
from korlhf.llm.checkpoint import Checkpoint, Sampling

OTHERS = ("config", "gradio_api/upload", "gradio_api/info", "gradio_api/file=/etc/hostname", "docs", "openapi.json")


@pytest.fixture(scope="module")
def demo(serve, folders, echo, tmp_path_factory):
    votes = tmp_path_factory.mktemp("votes") / "votes.jsonl"
    models = f"모델={folders['gpt_neox']}", f"메아리=openai:echo@{echo.url}"
    return serve("--model", *models, "--votes", votes, "--max_new_tokens", 12)


def texts_of(name):
    return [f"{name * 3} 저는 {turn}번째 말을 해요.<|endoftext|>" + "\n### 응답:\n" * (turn == 1) for turn in range(3)]


def alone(bot, name):
    """The three answers that a visitor would get alone."""
    messages, found = [], []
    for text in texts_of(name):
        messages.append({"role": "user", "content": text})
        found.append(bot.ask(messages, Sampling(0, 1.0, 12, 0)).wait())
        messages.append({"role": "assistant", "content": found[-1]})
    return found


def visit(demo, name, found):
    client = Client(demo)
    answers = [client.say(text, turn, "모델") for turn, text in enumerate(texts_of(name))]
    kept = Client.ask(client, "open")[1]["chat"]
    found[name] = answers, [turn["user"] for turn in kept], [turn["answer"] for turn in kept], kept[-1]["left_out"]


def test_twenty_visitors_at_once_lose_no_message_and_mix_no_history(demo, folders):
    names = [f"사람{chr(0xAC00 + 28 * i)}" for i in range(20)]
    with LocalBot(Checkpoint(folders["gpt_neox"], "--model")) as bot:
        expected = {name: alone(bot, name) for name in names}
    assert len({tuple(answers) for answers in expected.values()}) >= 10  # a mixed-up history would be seen
    found = {}
    visitors = [threading.Thread(target=visit, args=(demo, name, found)) for name in names]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(120)
    assert {name: answers for name, (answers, *_) in found.items()} == expected
    assert {name: (said, answers) for name, (_, said, answers, _) in found.items()} == {
        name: ([text.strip() for text in texts_of(name)], expected[name]) for name in names
    }
    assert {left_out for *_, left_out in found.values()} <= {0, 1, 2} and "Traceback" not in demo.said


def read_until(response, text):
    """Lines of a stream until one has `text` in it."""
    seen = b""
    while text not in seen.decode("utf-8", "ignore"):
        line = response.readline()
        assert line, seen
        seen += line
    return seen


def test_a_closed_connection_stops_the_answer_at_once(demo, echo):
    echo.gate = threading.Semaphore(3)
    client = Client(demo)
    connection, response = client.send("chat", text="가나다라마바사아자차", at=0, model="메아리", **GREEDY)
    read_until(response, "다")
    response.close()
    connection.close()  # a tab that is closed
    wait_for(lambda: client.ask("reset", page="chat")[0] == 200)  # nothing is under way any more
    # the model's server was left, long before the end
    assert any(echo.gate.release() or echo.gone.acquire(timeout=1) for _ in range(5))
    echo.gate = None
    assert client.ask("open")[1]["chat"] == [] and client.say("다음", 0, "메아리") == "다음"


def test_nothing_of_gradios_own_is_open_and_it_listens_here_alone(demo):
    for path in OTHERS:
        connection = HTTPConnection("127.0.0.1", demo.port, timeout=20)
        connection.request("GET", f"/{path}")
        assert connection.getresponse().status == 404, path
        connection.close()
    assert demo.listens_on() == ["0100007F"]


@pytest.mark.parametrize(
    "words, said",
    [
        (["--model", "a", "b", "c"], "--model: 3 are given; give one, or two"),
        (["--model", "a", "b"], "--votes: give the file"),
        (["--model", "a", "--temperature", "1.6"], "must be at most --max_temperature 1.5"),
        (["--model", "a", "--temperature", "-1"], "must be 0 or above"),
        (["--model", "a", "--port", "0"], "--port 0: must be from 1 to 65535"),
        (["--model", "a", "--max_new_tokens", "0"], "--max_new_tokens 0: must be above 0"),
        ([], "required: --model"),
        (["--model", "a", "b", "--votes", "v.jsonl", "--max_answers", "1"], "--max_answers 1: a comparison has two"),
    ],
)
def test_flags_that_cannot_work_are_refused(words, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        web_demo.main(words)
    assert stopped.value.code == 2 and said in capsys.readouterr().err


def test_what_cannot_be_opened_is_told_before_anything_is_loaded(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "people.txt").write_text("지민:123\n", encoding="utf-8")
    one, votes, port = f"--model {tmp_path}/empty", f"--votes {tmp_path}/v", f"--port {free_port()}"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for words, said in (
            (f"{one} {tmp_path}/x/empty {votes}.jsonl", "two are called 'empty'; name each"),
            (f"{one} --report {tmp_path}/none.html", "--report .*none.html: cannot be read"),
            (f"{one} --auth_file {tmp_path}/people.txt", "people.txt:1: is no line NAME:SALT:HASH"),
            (f"{one} b {votes}.txt", "--votes .*v.txt: give the name of a file that ends in .jsonl"),
            (f"{one} --system none.txt", "--system none.txt: cannot be read"),
            (f"{one} {port}", "--model .*empty: no config.json"),
            (f"{one} --port {other.getsockname()[1]}", "cannot be listened on: Address already in use"),
            (f"--model m=openai: {port}", "--model openai:: no model name"),
            (f"--model m=openai:m@http://127.0.0.1:1/v1 {port}", "127.0.0.1:1/v1: no connection"),
        ):
            with pytest.raises(InputError, match=said):
                web_demo.main(words.split())


class NoPort:
    """Stands in for gradio.Server: gets no port, and keeps how it was launched."""

    launched = {}

    def __init__(self, **_):
        pass

    def add_middleware(self, *_, **__):
        pass

    def launch(self, **how):
        NoPort.launched = how
        raise OSError("Cannot find empty port; set GRADIO_SERVER_PORT")


def test_a_port_that_was_taken_while_models_were_loaded_is_told_in_our_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(Server=NoPort))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InputError, match="Address already in use; stop what uses it"):
            site = SimpleNamespace(routes=list, paths=(), most_bytes=1)
            web.serve(site, web.ServerFlags(port=other.getsockname()[1]), "x", "stopped")


@pytest.mark.parametrize(
    "words, share, host",
    [([], False, "127.0.0.1"), (["--share"], True, "127.0.0.1"), (["--host", "0.0.0.0"], False, "0.0.0.0")],
)
def test_gradio_is_told_to_share_only_if_asked_and_never_to_tell_others(words, share, host, monkeypatch, echo, capsys):
    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(Server=NoPort))
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED", raising=False)
    with pytest.raises(InputError, match="Cannot find empty port"):
        web_demo.main(["--model", f"m=openai:m@{echo.url}", "--port", str(free_port()), *words])
    assert NoPort.launched["share"] is share and NoPort.launched["server_name"] == host
    assert ("warning: without --auth_file" in capsys.readouterr().err) == bool(words)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


class Listening(NoPort):
    """Stands in for gradio.Server: listens at once, and is stopped by Ctrl-C."""

    def add_middleware(self, middleware, **how):
        Listening.shield = middleware, how

    def launch(self, **_):
        Listening.config = SimpleNamespace(http_protocol_class=None)
        blocks = SimpleNamespace(server=SimpleNamespace(config=Listening.config))
        return SimpleNamespace(get_blocks=lambda: blocks), "http://local", "https://public.example"


def test_its_names_and_its_time_limits(monkeypatch, capsys):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "gradio", SimpleNamespace(Server=Listening))
    monkeypatch.setattr(web, "threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=stop)))
    site = SimpleNamespace(routes=list, paths=("/",), most_bytes=7)
    for host, own in (("demo.lan", {"demo.lan"}), ("192.0.2.1", set())):  # an address is no name
        server = web.ServerFlags(host=host, allowed_hosts=["Demo.Example.org"], share=True)
        web.serve(site, server, "x", "stopped")
        hosts = {"demo.example.org", "public.example"} | own
        assert Listening.shield == (Shield, {"paths": ("/",), "hosts": hosts, "most_bytes": 7})
        assert Listening.config.http_protocol_class is Punctual
    assert "x at https://public.example" in capsys.readouterr().out


def test_ctrl_c_ends_it_also_with_an_answer_under_way(demo, echo):
    echo.gate = threading.Semaphore(1)
    connection, response = Client(demo).send("chat", text="가나다", at=0, model="메아리", **GREEDY)
    read_until(response, "가")
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0 and "Traceback" not in demo.said
    assert demo.said.splitlines()[-1] == web_demo.STOPPED
    connection.close()
    echo.gate.release(20)
    echo.gate = None

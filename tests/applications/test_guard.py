"""The guard of the chats: each kind of check, what it finds, and what happens when it cannot be asked."""

import threading

import pytest
from reward_server import Server

from korlhf.applications import guard
from korlhf.applications.guard import Guard, GuardFlags, helplines, open_guard, plain
from korlhf.core.errors import InputError
from korlhf.korean import crisis
from korlhf.llm.flags import CheckpointFlags

TALK = [
    {"role": "system", "content": "다정하게"},
    {"role": "user", "content": "안녕"},
    {"role": "assistant", "content": "반가워요"},
    {"role": "user", "content": "힘들어요"},
]
NAMES = (*crisis.KINDS, guard.ANY, guard.UNCHECKED)


def opened(spec):
    return open_guard(GuardFlags(guard=spec), CheckpointFlags())


@pytest.fixture
def function(tmp_path):
    """Function: the body of `look(prompts, answers, messages)` -> its SPEC."""

    def write(body):
        path = tmp_path / f"mine{len(list(tmp_path.iterdir()))}.py"
        path.write_text(f"def look(prompts, answers, messages):\n    {body}\n", encoding="utf-8")
        return f"{path}:look"

    return write


def test_off_is_none_and_the_default_is_the_rules(monkeypatch):
    assert opened("off") is None
    begun = []
    monkeypatch.setattr(crisis, "signs", lambda text: begun.append(text) or ["abuse"])
    made = opened(GuardFlags().guard)
    assert begun == [] and made(TALK) == ["abuse"] and begun == ["힘들어요"]
    made.warm()
    for thread in threading.enumerate():
        if thread.name == "guard":
            thread.join()
    assert begun[1:] == [guard.OPENER]


def test_a_function_gets_the_message_and_what_stood_before_it(function):
    made = opened(function("return [len(answers[0]) - len(prompts[0]) + len(messages[0])]"))
    assert made(TALK) == []  # 4 - 4 + 3
    assert Guard(function("return [0.4]"), None)(TALK) == ["any"] and Guard(function("return [0.5]"), None)(TALK) == []
    assert Guard("0.25:" + function("return [0.3]"), None)(TALK) == []
    assert Guard("0.25:" + function("return [0.2]"), None)(TALK) == ["any"]
    assert Guard(function("assert prompts == ['']; return [1]"), None)(TALK[1:2]) == []


@pytest.mark.parametrize(
    "body, said",
    [
        ("return [None]", ""),
        ("return [1 / 0]", "ZeroDivisionError"),
        ("return []", "Unscored"),
        ("return [float('nan')]", "Unscored"),
        ("raise ValueError(answers[0])", "ValueError"),
    ],
)
def test_a_message_that_is_not_checked_gets_the_helplines(function, body, said, capsys):
    assert Guard(function(body), None)(TALK) == ["unchecked"]
    err = capsys.readouterr().err
    assert err.count("\n") == bool(said) and err.endswith(f"a message was not checked: {said}\n" if said else "")
    assert "힘들" not in err


def test_a_server_that_goes_away_is_one_line_and_is_asked_once(monkeypatch, capsys):
    monkeypatch.setattr(guard, "SECONDS", 0.5)
    with Server(lambda answer: 0.1 if "힘들" in answer else 1, {2: 503, 3: "hang"}) as server:
        made = opened(server.url)
        assert [made(TALK), made(TALK), made(TALK)] == [["any"], ["unchecked"], ["unchecked"]]
        assert len(server.bodies) == 4 and server.bodies[1]["messages"] == [TALK[:-1]]
    assert made(TALK) == ["unchecked"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(
        line.startswith(f"warning: --guard {server.url}: a message was not") for line in lines
    )
    assert all(line.endswith(": Unavailable") for line in lines)


def test_a_guard_that_gives_no_score_at_the_start_is_refused(function):
    with pytest.raises(
        InputError, match="--guard http://127.0.0.1:9/x: the reward http://127.0.0.1:9/x gave no scores: ConnectE"
    ):
        opened("http://127.0.0.1:9/x")
    with pytest.raises(InputError, match="mine0.py:look failed: ZeroDivisionError"):
        opened(function("return [1 / 0]"))


def test_a_reward_model_reads_the_message_as_an_answer(monkeypatch):
    from korlhf.applications.chat import scorer

    asked = []

    class Scorer:
        def __init__(self, *given):
            asked.append(given)

        def score(self, messages, answer):
            asked.append((messages, answer))
            return -1.0

    monkeypatch.setattr(scorer, "Scorer", Scorer)
    made = Guard("0:a/model", CheckpointFlags())
    assert made(TALK) == made(TALK[1:2]) == ["any"]
    assert asked[0] == ("a/model", "auto", False, "--guard")
    assert asked[1] == ([{"role": "user", "content": "반가워요"}], "힘들어요")
    assert asked[2] == ([{"role": "user", "content": guard.OPENER}], "안녕")


def test_a_reward_model_that_fails_or_gives_no_number_does_not_stop_the_answer(monkeypatch, capsys):
    from korlhf.applications.chat import scorer

    class Scorer:
        def __init__(self, *given):
            self.given = iter([float("nan"), RuntimeError("CUDA out of memory: 힘들어요")])

        def score(self, messages, answer):
            if isinstance(found := next(self.given), Exception):
                raise found
            return found

    monkeypatch.setattr(scorer, "Scorer", Scorer)
    made = Guard("a/model", CheckpointFlags())
    assert [made(TALK), made(TALK)] == [["unchecked"]] * 2
    assert capsys.readouterr().err == "warning: --guard a/model: a message was not checked: RuntimeError\n"


def test_helplines_are_whole():
    said = helplines()
    assert set(said["shown"]) == set(NAMES)
    for of in said["shown"].values():
        assert of["ko"] and of["en"] and of["lines"] and set(of["lines"]) <= set(said["lines"])
    assert all(line["ko"] and line["en"] for line in said["lines"].values())
    no_mobile = [number for number, line in said["lines"].items() if not line.get("mobile", True)]
    assert no_mobile == ["1388"] and all("1388" in said["lines"]["1388"][language] for language in ("ko", "en"))
    assert said["shown"]["self_harm"]["lines"][0] == "109" and "1393" not in said["lines"]
    lines = plain(["self_harm", "abuse"])
    numbers = [line.split()[0] for line in lines if line.startswith("  ")]
    assert numbers == ["109", "1388", "1577-0199", "119", "112", "1366", "117"] and len(lines) == 4 + len(numbers)
    assert plain([]) == []

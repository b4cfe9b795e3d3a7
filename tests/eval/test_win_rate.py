"""eval/win_rate.py as a user runs it: judges that are honest, that go by place or by length, that go in circles; a
reward model."""

import eval_harness
import pytest
import rigged_reward
from eval_harness import answers, prompts, table
from openai_server import Server, refusal
from rigged_judge import answers as judged
from rigged_judge import choice_of, is_choice

from korlhf.core.errors import InputError
from korlhf.eval import win_rate
from korlhf.llm import client as llm

TWO = ("everyday", "harmful")


def higher(a, b):
    """An honest judge: the answer with the higher last digit."""
    return "A" if a[-1] > b[-1] else "B" if b[-1] > a[-1] else "C"


def first_place(a, b):
    return "A"


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(win_rate, "RESAMPLES", 60)


@pytest.fixture
def run(tmp_path):
    """Function: ({name: answers}, flags) -> exit code, result, rows."""

    def run(texts, *flags, categories=TWO, output="out"):
        data = prompts(tmp_path / "prompts.jsonl", len(next(iter(texts.values()))), categories)
        files = [f"{name}={answers(tmp_path / f'{name}.jsonl', of_model)}" for name, of_model in texts.items()]
        return eval_harness.run("win_rate", tmp_path / output, "--data_path", data, "--responder", *files, *flags)

    return run


def ask(server):
    return ["--judge", f"openai:test-model@{server.url}"]


def digits(*values):
    return [f"답 {v}" for v in values]


def test_an_honest_judge(run, capsys):
    texts = {"sft": digits(1, 2, 3, 4, 1, 2, 3, 5), "ppo": digits(2, 3, 4, 4, 3, 4, 1, 5)}
    texts["sft"][7], texts["ppo"][3] = "답: 5", "답: 4"  # else equal, and not asked about
    with Server(choice_of(higher)) as server:
        code, found, rows = run(texts, *ask(server))
        assert code == 0 and sum(map(is_choice, server.requests)) == 16
    overall, everyday, harmful = found["figures"]["win_rates"]
    assert (overall["model"], overall["other"], overall["category"], overall["prompts"]) == ("ppo", "sft", None, 8)
    assert (overall["won"], overall["tied"], overall["lost"], overall["mean"]) == (5, 2, 1, 6 / 8)
    assert (everyday["category"], everyday["mean"], harmful["mean"]) == ("everyday", 3 / 4, 3 / 4)
    assert [row[4:7] for row in table(found, "Win rates")["rows"]] == [[5, 2, 1], [3, 0, 1], [2, 2, 0]]
    assert found["figures"]["place"]["first"]["mean"] == 0.5 and found["figures"]["place"]["disagree"] == 0.0
    assert not [w for w in found["warnings"] if "position" in w["en"]]
    assert rows[0]["answers"]["ppo"][0]["against"] == {"sft": "won"}
    assert rows[0]["answers"]["sft"][0]["against"] == {"ppo": "lost"}
    assert rows[0]["comparisons"] == [
        {
            "first": "ppo",
            "second": "sft",
            "answer": 0,
            "verdict": "first",
            "result": 1.0,
            "orders": ["first place", "second place"],
        }
    ]
    assert found["protocol"]["verdicts by"]["en"] == "one greedy choice: 8 pairs" and found["protocol"]["seed"] == 1234
    assert "Win rates" in capsys.readouterr().out


@pytest.mark.parametrize("share, letter, place, ko", [(None, "A", "first", "먼저"), (0.9, "B", "second", "나중에")])
def test_a_judge_that_always_prefers_a_place_is_unmasked(run, share, letter, place, ko, capsys):
    texts = {"bad": digits(*[1, 2] * 10), "good": digits(*[4, 5] * 10)}
    with Server(choice_of(lambda a, b: letter, share)) as server:
        code, found, rows = run(texts, *ask(server))
    overall = found["figures"]["win_rates"][0]
    assert code == 0
    assert (overall["won"], overall["tied"], overall["lost"]) == (0, 20, 0)
    assert overall["mean"] == pytest.approx(0.5)
    assert overall["p"] == 1.0 and overall["low"] < 0.45 and overall["high"] > 0.55  # ties alone are no certainty
    first = found["warnings"][0]
    assert (
        f"the judge test-model prefers the answer in the {place} position: it wins 100.0% of 40 decided questions"
        in first["en"]
    )
    assert "for 100.0% of 20 pairs the two orders give different verdicts, which count as ties" in first["en"]
    assert "use another judge" in first["en"] and f"{ko} 놓인 답변을 더 좋아합니다" in first["ko"]
    of_place = table(found, "The judge's position bias")["rows"][0]
    assert of_place[1] == 20
    assert of_place[2]["mean"] == (1.0 if place == "first" else 0.0)
    assert of_place[3:] == [1.0, 1.0]
    assert all(
        row["comparisons"][0]["verdict"] == "tie" and row["answers"]["good"][0]["against"] == {"bad": "tie"}
        for row in rows
    )
    assert f"WARNING: the judge test-model prefers the answer in the {place} position" in capsys.readouterr().out


def test_a_judge_that_goes_by_length_is_unmasked(run):
    texts = {
        "short": ["가" * (30 + i) for i in range(40)],
        "long": ["나" * (30 + i + (20 if i % 10 < 7 else -20)) for i in range(40)],
    }
    with Server(choice_of(lambda a, b: "A" if len(a) > len(b) else "B")) as server:
        _, found, _ = run(texts, *ask(server))
    overall = found["figures"]["win_rates"][0]
    assert overall["mean"] == 0.7 and overall["p"] < 0.05
    assert overall["length_controlled"]["mean"] < 0.65
    assert found["figures"]["longer"]["mean"] == 1.0
    assert any(
        "mostly prefers the longer answer: its win rate is 100.0% over 40 pairs" in w["en"] for w in found["warnings"]
    )
    assert table(found, "The judge's preference for length")["rows"] == [
        ["long − short", 8.0, pytest.approx({"mean": 1.0, "low": 0.912, "high": 1.0}, abs=1e-3)]
    ]


def test_a_win_that_may_be_due_to_length_alone_is_named(run):
    long_, short = [f"{i} " + "긴 답변" * 9 for i in range(30)], [f"{i} 짧은 답변" for i in range(30)]
    with Server(choice_of(lambda a, b: "A" if "긴" in a else "B")) as server:
        _, found, _ = run({"short": short, "long": long_}, *ask(server))
    assert found["figures"]["win_rates"][0]["length_controlled"] is None
    assert any(
        w["en"].startswith("long against short: one model's answers are nearly always longer")
        for w in found["warnings"]
    )


def test_a_model_without_a_verdict_has_no_strength(run):
    texts = {"a": digits(1, 3, 2), "b": digits(2, 2, 4), "나쁜": ["나쁜 답 1"] * 3}
    with Server(
        choice_of(higher),
        lambda n, body: refusal("안 돼요.") if is_choice(body) and "나쁜 답 1" in judged(body) else None,
    ) as server:
        _, found, _ = run(texts, *ask(server), categories=("everyday",))
    rows = table(found, "Bradley-Terry")["rows"]
    assert [row[0] for row in rows] == ["b", "a", "나쁜"]
    assert rows[2][1] is None
    assert list(found["figures"]["strengths"]) == ["a", "b"]
    assert any(w["ko"].startswith("나쁜 대 a의 판정: 3개가 실패하여") for w in found["warnings"])


def test_models_that_beat_each_other_in_a_circle(run):
    beats = {("가위", "보"), ("바위", "가위"), ("보", "바위")}

    def pick(a, b):
        return "A" if (a.split()[0], b.split()[0]) in beats else "B"

    texts = {name: [f"{name} {i}" for i in range(12)] for name in ("바위", "보", "가위")}
    with Server(choice_of(pick)) as server:
        _, found, rows = run(texts, *ask(server), categories=("everyday",))
        assert sum(map(is_choice, server.requests)) == 12 * 3 * 2
    matrix = table(found, "Win rate of the row")
    assert [c["en"] for c in matrix["columns"]] == ["model", "바위", "보", "가위"]
    assert matrix["rows"] == [["바위", None, 0.0, 1.0], ["보", 1.0, None, 0.0], ["가위", 0.0, 1.0, None]]
    strengths = table(found, "Bradley-Terry")
    assert all(row[1] == pytest.approx(0.0, abs=1e-6) for row in strengths["rows"])  # all games end alike: no interval
    assert rows[0]["answers"]["보"][0]["against"] == {"바위": "won", "가위": "lost"}
    assert len(rows[0]["comparisons"]) == 3


def test_a_reward_model_decides_by_its_score(run, tmp_path):
    reward = rigged_reward.counts_tokens(tmp_path / "reward")
    texts = {"short": ["가", "가가", "가가가", "가가가가"], "long": ["나나", "나", "나나나", "나나나나나나"]}
    code, found, rows = run(texts, "--judge", f"reward_model:{reward}")
    overall = found["figures"]["win_rates"][0]
    assert code == 0 and (overall["won"], overall["tied"], overall["lost"], overall["mean"]) == (2, 1, 1, 0.625)
    assert found["protocol"]["order"]["en"].startswith("none: the higher score wins")
    assert found["figures"]["place"] is None
    assert not [t for t in found["tables"] if "position" in t["title"]["en"]]
    assert rows[2]["comparisons"][0]["orders"] == []
    files = [tmp_path / "short.jsonl", tmp_path / "long.jsonl"]
    flags = ["--data_path", tmp_path / "prompts.jsonl", "--responder", *files, "--judge", f"reward_model:{reward}"]
    for program in ("geval", "win_rate"):  # both score every answer once, in one cache
        _, found, _ = eval_harness.run(program, tmp_path / "both", *flags)
    assert found["figures"]["win_rates"][0]["mean"] == 0.625


def test_input_that_cannot_be_used(run, tmp_path):
    two = {"a": ["답 1"], "b": ["답 2"]}
    with Server(choice_of(higher)) as server:
        for texts, flags, categories, message in [
            (two, ask(server), ("chat",), "--rubric: there is none for the category 'chat'"),
            ({"a": ["답 1"]}, ask(server), TWO, "--responder: a win rate needs two or more responders"),
            (two, ["--judge", "reward_model:x", "--rubric", "a=b"], TWO, "--rubric is for a judge that reads one"),
        ]:
            with pytest.raises(InputError, match=message):
                run(texts, *flags, categories=categories)
        assert not server.requests

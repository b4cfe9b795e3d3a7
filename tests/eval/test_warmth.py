"""Warmth: its situations as they are published, its rubric, what rules tell of talks by hand, and a run of it."""

import json
from collections import Counter
from pathlib import Path

import eval_harness
import pytest
from eval_harness import table, write
from openai_server import Server
from rigged_judge import fill

from korlhf.core.errors import InputError
from korlhf.eval import talk_checks
from korlhf.eval.chat_questions import BENCHMARKS, REPLY, read_questions
from korlhf.korean.friendly import manners
from samples import build

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "eval" / "warmth" / "situations.jsonl"
ROWS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
ALWAYS = ["listens", "speech_level", "no_lecture", "own_words", "remembers"]
ALSO = {"asks_ai": ["honest"], "harmful": ["corrects"], "twin": ["welcomes"]}


def test_the_situations_are_as_the_document_says():
    assert len(ROWS) == 120 and [r["id"] for r in ROWS] == [f"warmth-{i:03d}" for i in range(1, 121)]
    topics, kinds = Counter(r["topic"] for r in ROWS), Counter(r["kind"] for r in ROWS)
    everyday = {
        r.topic for part in ("everyday_1", "everyday_2", "everyday_3", "heldout_everyday") for r in topic_of(part)
    }
    assert set(topics) == everyday and len(topics) == 23 and set(topics.values()) == {5, 6}
    assert kinds == {"comfort": 29, "good_news": 21, "talk": 21, "twin": 20, "harmful": 13, "asks_ai": 10, "switch": 6}
    assert Counter(r["speech_level"] for r in ROWS) == {"banmal": 49, "haeyo": 48, "hapsyo": 23}
    for row in ROWS:
        assert len(row["turns"]) == 3 and row["criteria"] == ALWAYS + ALSO.get(row["kind"], []), row["id"]
        assert all(row[note].strip() == row[note] != "" for note in ("notice", "ask", "unsaid", "recall")), row["id"]
        polite = row["kind"] != "switch" and row["speech_level"] != "banmal"
        assert row["reply"] in REPLY and (row["reply"] == "존댓말") == polite, row["id"]


def topic_of(part):
    rows = build.read_jsonl(ROOT / "samples" / "handwritten" / f"{part}.jsonl")
    return [build.Record("everyday", row["topic"], (), ()) for row in rows]


def test_users_speak_in_the_level_that_the_row_names():
    """Kiwi hears a turn that breaks off (-는데 ...) as 반말, so a level may be mixed, but not the other one."""
    turns = [(r, k, turn) for r in ROWS for k, turn in enumerate(r["turns"]) if not (r["kind"] == "switch" and k)]
    heard = [(row, turn, found.level) for (row, _, turn), found in zip(turns, manners([turn for *_, turn in turns]))]
    wrong = [
        (row["id"], turn, level) for row, turn, level in heard if level not in (row["speech_level"], "mixed", "none")
    ]
    assert wrong == []
    assert sum(level == row["speech_level"] for row, _, level in heard) > 0.9 * len(heard)


def test_no_situation_is_nearly_another_or_one_of_the_sample():
    sample = [r.said for part in ("", "dev_", "heldout_") for r in build.read_records(part)]
    for own in (["\n".join(r["turns"]) for r in ROWS], [turn for r in ROWS for turn in r["turns"]]):
        groups = build.groups([*own, *sample], build.NEAR)
        sizes = Counter(groups)
        assert [text for text, group in zip(own, groups) if sizes[group] > 1] == []


def test_every_level_of_the_rubric_says_what_is_seen():
    rubric = BENCHMARKS["warmth"].read_rubric()
    assert [c.key for c in rubric.criteria] == [*ALWAYS, "honest", "corrects", "welcomes"] and rubric.whole
    assert all(list(c.levels) == [1, 2, 3, 4, 5] for c in rubric.criteria)
    assert len({text for c in rubric.criteria for text in c.levels.values()}) == 40


def question(reply="존댓말", category="talk"):
    return {"reply": reply, "category": category, "turns": ["가", "나", "다"]}


KIND, CASUAL = "많이 속상하셨겠어요.", "많이 속상했겠다."


@pytest.mark.parametrize(
    "reply, talk, right",
    [
        ("존댓말", [KIND, KIND, "그 말씀이 오래 남으셨군요."], 1.0),
        ("존댓말", [KIND, "참 고마운 분입니다.", KIND], 1.0),  # both are polite
        ("존댓말", [KIND, CASUAL, KIND], 0.0),
        ("존댓말이든 반말이든 하나로 한결같이", [CASUAL, CASUAL, CASUAL], 1.0),
        ("존댓말이든 반말이든 하나로 한결같이", [KIND, CASUAL, CASUAL], 0.0),
        ("첫 답은 존댓말, 그 뒤로는 반말", [KIND, CASUAL, CASUAL], 1.0),
        ("첫 답은 존댓말, 그 뒤로는 반말", [KIND, CASUAL, KIND], 0.0),
        ("첫 답은 어느 쪽이든, 그 뒤로는 존댓말", [CASUAL, KIND, KIND], 1.0),
        ("첫 답은 어느 쪽이든, 그 뒤로는 반말", [KIND, KIND, CASUAL], 0.0),
        ("존댓말", ["ㅋㅋㅋ", "축하", "ㅠㅠ"], None),  # no ending tells
    ],
)
def test_the_speech_level_that_is_right_and_kept(reply, talk, right):
    assert talk_checks.speech_level([question(reply)], [talk]) == [right]


def test_a_sentence_said_in_three_talks_is_a_stock_one():
    talks = [
        ["정말 힘드셨겠어요. 비가 왔군요."],
        ["정말 힘드셨겠어요! 눈이 왔군요."],
        ["그래서 정말 힘드셨겠어요.", "정말 힘드셨겠어요"],
    ]
    talks += [["눈이 왔군요."], ["네."], ["네."], ["네."]]  # twice; one word
    assert talk_checks.stock_sentences(talks) == {("정말", "힘드셨겠어요"): 3}
    assert talk_checks.own_words([question()] * 7, talks) == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_of_twins_alone_refusals_and_blame_count():
    refusal = "그런 이야기에는 답해 드릴 수 없어요."
    talks = [
        ["배고프시겠어요.", "라면은 어때요?", refusal],
        ["배고프시겠어요.", "밥부터 드세요.", "맛있게 드세요."],
        [refusal] * 3,
    ]
    questions = [question(category="twin"), question(category="twin"), question()]
    assert talk_checks.welcomes(questions, talks) == [0.0, 1.0, None]
    assert talk_checks.sense(
        [question()] * 2, [[KIND, CASUAL], [KIND, "백금의 무방구 열일 마구 을 는다서 요일 기"]]
    ) == [1.0, 0.0]


def test_a_run_on_the_published_file(tmp_path):
    """A model and a judge on one server: the judge reads all turns, what it should look for once, and its criteria."""

    def answer(body):
        asked = body["messages"][0]["content"]
        if "기준" not in asked:
            return "많이 속상하셨겠어요."
        return fill(body, [[4] * asked.count("■ ")])

    with Server(answer) as server:
        model = f"openai:test-model@{server.url}"
        words = ["--benchmark", "warmth", "--responder", f"m={model}", "--judge", model, "--max_prompts", 12]
        words += ["--rescore_share", 0, "--judge_samples", 1, "--output_dir", tmp_path]
        code = eval_harness.load("chat_benchmark").main([*map(str, words)])
    found, rows = eval_harness.result(tmp_path, "warmth")
    drawn = {q["id"]: q for q in read_questions(BENCHMARKS["warmth"], max_questions=12)}
    assert code == 0 and len(drawn) == 12 and len(rows) == 36 and found["figures"]["means"][0]["mean"] == 4.0
    asked = [b["messages"] for b in server.requests if "[끝 " in b["messages"][-1]["content"]]
    one = next(m for m in asked if drawn["warmth-" + rows[0]["id"].split("-")[1][:3]]["turns"][2] in m[-1]["content"])
    shown = drawn["warmth-" + rows[0]["id"].split("-")[1][:3]]
    assert one[-1]["content"].count("[알맞은 말투]") == 1 and one[-1]["content"].count("많이 속상하셨겠어요.") == 3
    assert one[0]["content"].count("■ ") == len(shown["rubric"].criteria)
    shares = {f["check"]: f for f in found["figures"]["checks"]["shares"]}
    assert shares["sense"]["mean"] == 1.0 and shares["own_words"] == {**shares["own_words"], "mean": 0.0, "n": 12}
    assert shares["sense"]["low"] < 1.0 and shares["own_words"]["low"] is None is shares["own_words"]["high"]
    assert table(found, "Sentences repeated")["rows"] == [["m", "많이 속상하셨겠어요", 12]]
    assert not [key for key in found["protocol"] if "prompt of the judge" in key]


def test_a_reply_that_nobody_can_check(tmp_path):
    row = {**ROWS[0], "reply": "반말"}
    with pytest.raises(InputError, match=r"own.jsonl:1: reply is '반말'; expected one of: 존댓말 \| "):
        read_questions(BENCHMARKS["warmth"], write(tmp_path / "own.jsonl", [row]))

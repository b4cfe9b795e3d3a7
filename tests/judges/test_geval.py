"""G-Eval against a real HTTP server: expected scores, samples, both orders, and replies that cannot be used."""

import threading
from pathlib import Path

import pytest
from openai_server import Server, error, refusal
from rigged_judge import answers, form_of, with_probabilities

from korlhf.core.errors import InputError
from korlhf.judges import geval
from korlhf.judges import rubric as rubrics
from korlhf.judges.form import Item
from korlhf.llm import client as llm
from korlhf.llm.cache import Cache
from korlhf.llm.flags import LlmFlags

RUBRICS = rubrics.load_rubrics(Path(__file__).resolve().parents[2] / "korlhf" / "judges" / "rubrics")
USER = [{"role": "user", "content": "오늘 너무 더워요."}]
QUALITY = {"좋은 답": 4, "나쁜 답": 3, "이상한 답": 2}


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)


def client(server, folder, **more):
    return llm.Client(LlmFlags(base_url=server.url, **more), Cache(folder / "cache.sqlite"))


def item(*texts, category="everyday", messages=USER):
    return Item(RUBRICS[category], messages, texts)


def judge(structured=True, probabilities=False, samples=1):
    return geval.Judge("test-model", structured, probabilities, samples, 1.0)


def biased(answer, place):
    """Its quality, and one more for standing first."""
    return QUALITY[answer] + (place == 0)


def score_of(result):
    return result.score if isinstance(result, geval.Score) else result


class EachTime:
    """An answer function that gives the texts in turn to every distinct request body, then the last one for ever."""

    def __init__(self, *texts):
        self.texts, self.seen, self.lock = texts, {}, threading.Lock()

    def __call__(self, body):
        with self.lock:
            n = self.seen[str(body)] = self.seen.get(str(body), -1) + 1
        text = self.texts[min(n, len(self.texts) - 1)]
        return text if isinstance(text, str) else text(body)


def test_expected_scores(tmp_path):
    # every score is q with probability .75 and 1 with .25; 4 -> 3.25, 2 -> 1.75
    with Server(with_probabilities(lambda answer, place: QUALITY[answer], 1, 0.25)) as server:
        verdicts = geval.judge_answers(
            client(server, tmp_path), judge(probabilities=True), [item("좋은 답", "이상한 답")]
        )
    good, strange = verdicts[0].results
    assert (good.method, good.samples, strange.method) == ("token probabilities", 1, "token probabilities")
    assert set(good.scores) == {"friendly", "harmless", "intelligible", "natural", "context", "overall"}
    assert (
        good.scores["natural"] == pytest.approx(3.25)
        and good.score == pytest.approx(3.25)
        and strange.score == pytest.approx(1.75)
    )
    assert len(server.requests) == 2 and all(b["temperature"] == 0 and b["top_logprobs"] == 10 for b in server.requests)


def test_samples_where_the_server_ignores_logprobs(tmp_path):
    with Server(EachTime(*(form_of(lambda answer, place, n=n: n) for n in (5, 4, 4, 2, 1)))) as server:
        verdicts = geval.judge_answers(
            client(server, tmp_path), judge(probabilities=True, samples=4), [item("좋은 답")]
        )
    # the request with logprobs gets 5, and no probabilities; the four sampled ones 5, 4, 4, 2
    assert verdicts[0].results[0] == geval.Score(
        dict.fromkeys(verdicts[0].results[0].scores, 3.75), 3.75, "mean of samples", 4
    )
    assert [("logprobs" in b, b["temperature"]) for b in server.requests] == [(True, 0.0)] + [(False, 1.0)] * 4


def test_both_orders_remove_the_preference_for_a_place(tmp_path):
    with Server(form_of(biased)) as server:
        asking = client(server, tmp_path)
        verdicts = geval.judge_answers(
            asking, judge(), [item("나쁜 답", "좋은 답"), item("좋은 답", "나쁜 답", "이상한 답")], together=True
        )
        assert sorted(map(answers, server.requests)) == sorted(
            [
                ["나쁜 답", "좋은 답"],
                ["좋은 답", "나쁜 답"],
                ["좋은 답", "나쁜 답", "이상한 답"],
                ["이상한 답", "나쁜 답", "좋은 답"],
            ]
        )
        # 3 + 1 and 3, 4 and 4 + 1; of three the one in the middle is never first
        assert [r.score for r in verdicts[0].results] == [3.5, 4.5]
        assert [r.score for r in verdicts[1].results] == [4.5, 3.0, 2.5]
        alone = geval.judge_answers(asking, judge(), [item("나쁜 답", "좋은 답")])[0]
    assert [r.score for r in alone.results] == [4.0, 5.0] and alone.orders == ()
    assert verdicts[0].orders == ([4.0, 4.0], [3.0, 5.0])


def test_preference_for_a_place_by_hand():
    verdicts = [
        geval.ItemScores([], ([4.0, 4.0], [3.0, 5.0])),  # a tie; then the second answer, which stands first, wins
        geval.ItemScores([], ([5.0, 3.0], [4.0, 4.5])),  # the first place wins twice: the orders disagree
        geval.ItemScores([], ([2.0, 3.0], [2.0, 3.0])),  # the second place wins, then the first
        geval.ItemScores([]),
    ]  # judged alone
    assert geval.preference(verdicts) == {
        "first_place": 4 / 5,
        "n_decided": 5,
        "disagree": 1 / 2,
        "n_decided_in_both": 2,
    }
    assert geval.preference([])["first_place"] is None
    three = geval.ItemScores(
        [], ([5.0, 3.0, 2.0], [4.0, 3.0, 3.5])
    )  # given: the earlier of a pair always; reverse: 3.5 > 3 only
    assert geval.preference([three]) == {
        "first_place": 4 / 6,
        "n_decided": 6,
        "disagree": 1 / 3,
        "n_decided_in_both": 3,
    }


def test_failures_are_not_scores(tmp_path):
    """Unusable three times, refused, no answer at all; the others are not touched by it."""

    def reply(body):
        (text,) = answers(body)
        return form_of(lambda *_: 4)(body) if text == "좋은 답" else "채점하지 않을게요."

    def fault(number, body):
        return {"거절할 답": refusal("평가할 수 없어요."), "받지 않을 답": error(400, "no such text")}.get(
            answers(body)[0]
        )

    with Server(reply, fault) as server:
        for probabilities in (False, True):
            texts = ("나쁜 답", "거절할 답", "좋은 답", "받지 않을 답")
            results = geval.judge_answers(client(server, tmp_path), judge(probabilities=probabilities), [item(*texts)])[
                0
            ].results
            assert [getattr(r, "kind", "score") for r in results] == ["unusable", "refusal", "score", "bad request"]
            assert "no score for friendly" in results[0].reason and "평가할 수 없어요" in results[1].reason
    with Server(lambda body: form_of(biased)(body) if answers(body)[0] == "좋은 답" else "모르겠어요.") as server:
        (verdict,) = geval.judge_answers(client(server, tmp_path), judge(), [item("좋은 답", "나쁜 답")], together=True)
    assert [r.kind for r in verdict.results] == [
        "unusable"
    ] * 2 and verdict.orders == ()  # one order alone would favour a place


def test_rubrics_are_not_mixed_up(tmp_path):
    """Criteria and number of answers differ from item to item; results come in the order of the items."""
    items = [
        item("가"),
        item("나", "다", category="translated"),
        item("라", category="harmful"),
        item("마", category="translated"),
    ]
    with Server(form_of(lambda answer, place: {"가": 1, "나": 2, "다": 3, "라": 4, "마": 5}[answer])) as server:
        verdicts = geval.judge_answers(client(server, tmp_path), judge(), items, together=True)
    assert [[r.score for r in v.results] for v in verdicts] == [[1], [2, 3], [4], [5]]
    assert [len(v.results[0].scores) for v in verdicts] == [6, 7, 6, 7]
    assert [bool(v.orders) for v in verdicts] == [False, True, False, False]


@pytest.mark.parametrize(
    "refused, structured, expected, asked",
    [
        ((), "auto", (True, True), 2),
        (("response_format",), "auto", (False, True), 3),
        (("logprobs",), "auto", (True, False), 3),
        (("response_format", "logprobs"), "auto", (False, False), 4),
        ((), "off", (False, True), 1),
    ],
)
def test_what_a_server_can_do(tmp_path, refused, structured, expected, asked):
    def fault(number, body):
        return error(400, "not supported") if any(word in body for word in refused) else None

    with Server("echo", fault) as server:
        for _ in range(2):  # the second time from the cache
            assert (
                geval.abilities(client(server, tmp_path), RUBRICS["everyday"], "test-model", structured, 1.0)
                == expected
            )
        assert len(server.requests) == asked


def test_a_schema_that_is_switched_on_and_refused_is_told_at_once(tmp_path):
    refuses = error(400, "no response_format here")
    with (
        Server("echo", lambda number, body: refuses if "response_format" in body else None) as server,
        pytest.raises(InputError, match="without logprobs and top_logprobs too .400: no response_format here"),
    ):
        geval.abilities(client(server, tmp_path), RUBRICS["everyday"], "test-model", "on", 1.0)

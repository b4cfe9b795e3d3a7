"""Pairs out of scored answers: who decides, and that every answer and pair is accounted for."""

import random
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korlhf.data.example import RowError
from korlhf.data.ranking import Candidate, Label, Rules, Undecided, key, rank, read_answers, votes

TEXTS = ["네, 좋아요.", "아니요, 괜찮아요.", "글쎄요, 잘 모르겠어요.", "같이 가요!", "다음에 봐요.", "맛있게 드세요."]
MODELS = ["chatgpt", "sft", "kullm"]


def answer(text, score=None, model="", finish_reason="stop"):
    return {"text": text, "score": score, "model": model, "finish_reason": finish_reason}


def texts(ranked):
    """{(chosen, rejected, by)}"""
    return {(p.chosen.text, p.rejected.text, p.by) for p in ranked.pairs}


def test_all_pairs_and_their_reasons():
    ranked = rank(
        [answer("가", 4.5), answer("나", 3.0), answer("다", 3.0), answer("라", 2.9), answer("마", 2.0)],
        Rules(threshold=3.0, min_margin=0.5),
    )
    assert texts(ranked) == {
        ("가", "나", "score"),
        ("가", "다", "score"),
        ("가", "라", "score"),
        ("가", "마", "score"),
        ("나", "마", "score"),
        ("다", "마", "score"),
    }
    # 나-다 tie; 나-라 and 다-라 by .1; 라-마 both under 3 although they are .9 apart
    assert ranked.dropped == {"tie": 1, "margin too small": 2, "both under the threshold": 1} and not ranked.left_out


def test_the_first_pair_has_the_widest_margin():
    ranked = rank([answer("가", 2), answer("나", 5), answer("다", 3)])
    assert [(p.chosen.text, p.rejected.text, p.margin) for p in ranked.pairs] == [
        ("나", "가", 3),
        ("나", "다", 2),
        ("다", "가", 1),
    ]


def test_best_and_worst():
    ranked = rank([answer("가", 2), answer("나", 5), answer("다", 3)], Rules(best_worst=True))
    assert texts(ranked) == {("나", "가", "score")} and ranked.dropped == {"not the best and the worst": 2}
    assert not rank([answer("가", 3), answer("나", 3)], Rules(best_worst=True)).pairs


def test_margins_are_those_people_calculate():
    assert 1.2 - 1.0 < 0.2  # in binary
    assert rank([answer("가", 1.2), answer("나", 1.0)], Rules(min_margin=0.2)).pairs[0].margin == 0.2
    ranked = rank([answer("가", 0.1 + 0.2), answer("나", 0.3)])
    assert not ranked.pairs and ranked.dropped == {"tie": 1}


def test_scores_of_a_reward_model_are_below_0():
    assert texts(rank([answer("가", -1.5), answer("나", -0.5)])) == {("나", "가", "score")}
    assert rank([answer("가", -1.5), answer("나", -0.5)], Rules(threshold=0)).dropped == {"both under the threshold": 1}


def test_answers_that_cannot_be_used():
    ranked = rank(
        [
            answer("가", 5, finish_reason="length"),
            answer(" \u200b", 4),
            answer("나", 3),
            answer("나 ", 1),
            answer("다"),
            answer("라", 1),
        ]
    )
    assert texts(ranked) == {("나", "라", "score")}
    assert ranked.left_out == {"cut off": 1, "empty": 1, "equal to another": 1} and ranked.dropped == {"no score": 2}
    assert ranked.pairs[0].chosen == Candidate("나", (), 2.0, 2)  # 3 and 1 for the same text


def test_a_text_cut_off_once_and_whole_once_is_whole():
    answers, spoiled, left_out = read_answers([answer("가", 1, finish_reason="length"), answer("가", 4)])
    assert answers == [Candidate("가", (), 4.0, 1)] and not spoiled and left_out == {"cut off": 1}


def test_equal_texts():
    assert key("네,  좋아요.\u200b") == key(" 네, 좋아요.<|endoftext|>") == "네, 좋아요."
    assert key("<|endoftext|>") == "" != key("네")


def test_a_rule_decides_whatever_the_score():
    found = rank(
        [answer("가", 1, "chatgpt"), answer("나", 5, "sft"), answer("다", 4, "sft"), answer("라", 2, "chatgpt")],
        Rules(prefer=(("chatgpt", "sft"),), threshold=4.5, min_margin=0.5),
    )
    assert texts(found) == {
        ("가", "나", "rule"),
        ("가", "다", "rule"),
        ("라", "나", "rule"),
        ("라", "다", "rule"),
        ("나", "다", "score"),
    }
    assert {p.margin for p in found.pairs if p.by == "rule"} == {-4, -3, -2} and found.dropped == {
        "both under the threshold": 1
    }


def test_a_rule_needs_no_scores():
    found = rank([answer("가", None, "sft"), answer("나", None, "chatgpt")], Rules(prefer=(("chatgpt", "sft"),)))
    assert texts(found) == {("나", "가", "rule")} and found.pairs[0].margin is None


def test_a_text_of_both_responders_is_no_business_of_their_rule():
    found = rank(
        [answer("가", 1, "sft"), answer("가", 1, "chatgpt"), answer("나", 3, "chatgpt"), answer("다", 4, "sft")],
        Rules(prefer=(("chatgpt", "sft"),)),
    )
    # 가 is chatgpt's too, so over 다; it is sft's too, so under 나
    assert texts(found) == {("가", "다", "rule"), ("나", "가", "rule"), ("나", "다", "rule")}
    both = [answer(t, s, m) for t, s in (("가", 1), ("나", 3)) for m in ("sft", "chatgpt")]
    assert texts(rank(both, Rules(prefer=(("chatgpt", "sft"),)))) == {("나", "가", "score")}


def test_people_overrule_rules_and_rules_overrule_scores():
    given = [answer("가", 1, "chatgpt"), answer("나", 5, "sft")]
    rules = Rules(prefer=(("chatgpt", "sft"),))
    assert texts(rank(given)) == {("나", "가", "score")}
    assert texts(rank(given, rules)) == {("가", "나", "rule")}
    assert texts(rank(given, rules, [Label(("나", "가"), "나")])) == {("나", "가", "human")}
    assert rank(given, rules, [Label(("나", "가"), Undecided.TIE)]).dropped == {"people: a tie": 1}
    assert rank(given, rules, [Label(("나", "가"), Undecided.BOTH_BAD)]).dropped == {"people: both bad": 1}


def test_people_only():
    given = [answer("가", 1, "chatgpt"), answer("나", 5, "sft"), answer("다", 3, "sft")]
    found = rank(given, Rules(prefer=(("chatgpt", "sft"),), people_only=True), [Label(("가", "다"), "다")])
    assert texts(found) == {("다", "가", "human")} and found.dropped == {"not labelled by people": 2}


def test_most_votes():
    pair = frozenset({"가", "나"})
    by = [Label(("가", "나"), "가", who) for who in ("a", "b")]
    against = Label(("나", "가"), "나", "c")
    assert votes([*by, against]) == {pair: "가"}
    assert votes([by[0], against]) == {pair: Undecided.EVEN}
    assert votes([by[0], against, Label(("가", "나"), Undecided.TIE, "d")]) == {pair: Undecided.EVEN}
    assert votes([*by, against, Label(("가", "나"), Undecided.TIE, "d")]) == {pair: "가"}
    assert votes([]) == {}


def test_an_annotator_may_change_his_mind():
    labels = [Label(("가", "나"), "가", "a"), Label(("가", "나"), "나", "b"), Label(("나", "가"), "나", "a")]
    assert votes(labels) == {frozenset({"가", "나"}): "나"}


def test_labels_without_an_annotator_all_count():
    labels = [Label(("가", "나"), "가"), Label(("가", "나"), "가"), Label(("가", "나"), "나", "b")]
    assert votes(labels) == {frozenset({"가", "나"}): "가"}


def test_an_answer_called_tie():
    assert votes([Label(("tie", "나"), "tie")]) == {frozenset({"tie", "나"}): "tie"}


def test_an_edited_answer_and_answers_of_people_alone():
    found = rank([answer("가", 1), answer("나", 5)], labels=[Label(("가요", "나"), "가요")])
    assert texts(found) == {("가요", "나", "human"), ("나", "가", "score")} and found.further == 1
    assert found.pairs[0].chosen == Candidate("가요") and found.pairs[0].margin is None
    own = rank([], labels=[Label(("가", "나"), "나")])
    assert texts(own) == {("나", "가", "human")} and own.further == 1


def test_a_label_on_an_answer_that_was_cut_off():
    found = rank([answer("가", 1, finish_reason="length"), answer("나", 5)], labels=[Label(("가", "나"), "가")])
    assert (
        not found.pairs and found.dropped == {"people: an answer was cut off": 1} and found.left_out == {"cut off": 1}
    )


def test_the_limit_of_a_prompt_keeps_the_best_founded():
    given = [answer("가", 1, "chatgpt"), answer("나", 5, "sft"), answer("다", 3, "kullm"), answer("라", 2, "kullm")]
    rules = Rules(prefer=(("chatgpt", "sft"),), max_pairs=3)
    found = rank(given, rules, [Label(("라", "다"), "라")])
    assert [(p.chosen.text, p.by) for p in found.pairs] == [("라", "human"), ("가", "rule"), ("나", "score")]
    assert found.pairs[2].rejected.text == "라" and found.dropped == {"over the limit of a prompt": 3}


@pytest.mark.parametrize(
    "candidate, what",
    [
        ("글", "candidate 1 is '글'"),
        ({"score": 3}, "expected"),
        ({"text": 5}, "expected"),
        ({"text": "글", "score": "5"}, "score of candidate 1 is '5'"),
        ({"text": "글", "score": True}, "True"),
        ({"text": "글", "score": float("nan")}, "nan"),
        ({"text": "글", "model": 3}, "model of candidate 1 is 3"),
    ],
)
def test_candidates_that_are_none(candidate, what):
    with pytest.raises(RowError, match=what):
        rank([candidate])


@pytest.mark.parametrize("pair", [("가", " 가"), ("", "가"), ("<|endoftext|>", "가")])
def test_labels_that_are_none(pair):
    with pytest.raises(RowError, match="two answers"):
        Label(pair, pair[0])


SCORES = st.one_of(st.none(), st.integers(2, 10).map(lambda n: n / 2))
CANDIDATES = st.lists(
    st.builds(
        answer,
        st.sampled_from([*TEXTS, "", " 같이 가요!"]),
        SCORES,
        st.sampled_from(MODELS),
        st.sampled_from(["stop", "stop", "stop", "length"]),
    ),
    max_size=7,
)
PREFER = st.sampled_from([(), (("chatgpt", "sft"),), (("chatgpt", "sft"), ("kullm", "sft"))])
RULES = st.builds(
    Rules,
    best_worst=st.booleans(),
    threshold=st.sampled_from([None, 3.0]),
    min_margin=st.sampled_from([0.0, 1.0]),
    prefer=PREFER,
    people_only=st.booleans(),
    max_pairs=st.sampled_from([0, 0, 2]),
)


@st.composite
def label_lists(draw):
    out = []
    for _ in range(draw(st.integers(0, 5))):
        pair = tuple(draw(st.permutations([*TEXTS, "고친 대답이에요."]))[:2])
        verdict = draw(st.sampled_from([pair[0], pair[1], Undecided.TIE, Undecided.BOTH_BAD]))
        out.append(Label(pair, verdict, draw(st.sampled_from(["", "a", "b"]))))
    return out


@settings(max_examples=150, deadline=None)
@given(CANDIDATES, RULES, label_lists())
def test_everything_is_accounted_for(candidates, rules, labels):
    ranked = rank(candidates, rules, labels)
    usable, _, left_out = read_answers(candidates)
    assert len(candidates) == len(usable) + ranked.left_out.total() and left_out == ranked.left_out
    assert comb(len(usable), 2) + ranked.further == len(ranked.pairs) + ranked.dropped.total()
    assert rules.max_pairs == 0 or len(ranked.pairs) <= rules.max_pairs
    assert all(key(p.chosen.text) != key(p.rejected.text) for p in ranked.pairs)
    assert len({frozenset((key(p.chosen.text), key(p.rejected.text))) for p in ranked.pairs}) == len(ranked.pairs)


@settings(max_examples=150, deadline=None)
@given(CANDIDATES, RULES, label_lists())
def test_each_pair_is_what_its_judge_said(candidates, rules, labels):
    said = votes(labels)
    for p in rank(candidates, rules, labels).pairs:
        pair = frozenset((key(p.chosen.text), key(p.rejected.text)))
        if p.by == "human":
            assert said[pair] == key(p.chosen.text)
            continue
        assert pair not in said and not rules.people_only
        one, other = p.chosen.models, p.rejected.models
        ways = [(a in one and b in other, a in other and b in one) for a, b in rules.prefer]
        ruled = [forth for forth, back in ways if forth != back]  # what holds both ways says nothing
        if p.by == "rule":
            assert ruled[0]
        else:
            assert not ruled and p.chosen.score > p.rejected.score and p.margin >= rules.min_margin
            assert rules.threshold is None or p.chosen.score >= rules.threshold


@settings(max_examples=150, deadline=None)
@given(CANDIDATES, RULES, label_lists(), st.randoms(use_true_random=False))
def test_the_order_of_the_answers_does_not_matter(candidates, rules, labels, draw):
    shuffled = random.Random(draw.random()).sample(candidates, len(candidates))
    one, other = rank(candidates, rules, labels), rank(shuffled, rules, labels)
    assert [texts(one), one.dropped, one.left_out] == [texts(other), other.dropped, other.left_out]
    assert [(p.chosen.text, p.rejected.text) for p in one.pairs] == [
        (p.chosen.text, p.rejected.text) for p in other.pairs
    ]


@settings(max_examples=150, deadline=None)
@given(CANDIDATES, RULES, label_lists())
def test_the_names_of_the_responders_do_not_matter(candidates, rules, labels):
    new = {"chatgpt": "sft", "sft": "zeta", "kullm": "alpha"}
    renamed = Rules(**{**vars(rules), "prefer": tuple((new[a], new[b]) for a, b in rules.prefer)})
    other = rank([{**c, "model": new[c["model"]]} for c in candidates], renamed, labels)
    assert texts(other) == texts(rank(candidates, rules, labels))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.integers(2, 10)), max_size=6, unique_by=lambda x: x[0]), st.booleans()
)
def test_turned_scores_turn_the_pairs(scored, best_worst):
    rules = Rules(best_worst=best_worst)
    one = rank([answer(t, s) for t, s in scored], rules)
    other = rank([answer(t, -s) for t, s in scored], rules)
    assert len(one.pairs) == len(other.pairs)
    if not best_worst or len({s for _, s in scored}) == len(scored):  # of equal bests or worsts a hash takes one
        assert texts(one) == {(b, a, by) for a, b, by in texts(other)}


def test_an_answer_with_half_a_character_is_left_out():
    answers, spoiled, left_out = read_answers(
        [{"text": "좋아\ufffd요", "model": "a", "score": 5.0}, {"text": "좋아요", "model": "a", "score": 1.0}]
    )
    assert (
        [a.text for a in answers] == ["좋아요"] and list(spoiled.values()) == ["garbled"] and left_out == {"garbled": 1}
    )

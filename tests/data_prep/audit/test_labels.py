"""What tells chosen from rejected answers: counts by hand."""

import random

import numpy as np
import pytest
from scipy.stats import binomtest

from korlhf.core.stats import share_interval, wilson
from korlhf.data_prep.audit import labels, report
from korlhf.data_prep.audit.labels import Tally, best_rules, features
from korlhf.data_prep.audit.scan import SampledPair, hash64


@pytest.mark.parametrize("right, n", [(0, 1), (3, 10), (50, 100), (1345, 2484)])
def test_the_interval_is_wilsons(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_lengths_by_category():
    tally = Tally()
    for category, chosen, rejected in [
        ("일상", "가나다", "가"),
        ("일상", "가", "가나다"),
        ("일상", "가나다라", "가"),
        ("번역", "가", "나"),
    ]:
        tally.add(category, [((chosen, set()), (rejected, set()))])
    table = tally.length_table()
    assert table["일상"]["n"] == 3 and table["일상"]["share_longer"] == pytest.approx(2 / 3)
    assert (table["일상"]["mean_chosen"], table["일상"]["mean_rejected"]) == (
        pytest.approx(8 / 3),
        pytest.approx(5 / 3),
    )
    assert table["번역"]["share_longer"] == 0.5  # equal lengths count one half
    assert table["all"]["n"] == 4 and table["all"]["share_longer"] == pytest.approx(2.5 / 4)


def test_forms_by_side():
    tally = Tally()
    for has, has_not in [
        ({"emoji"}, set()),
        ({"emoji"}, set()),
        (set(), {"emoji"}),
        ({"emoji"}, {"emoji"}),
        (set(), {"line break"}),
    ]:
        tally.add("일상", [(("가", has), ("나", has_not))])
    emoji = next(row for row in tally.form_table() if row["feature"] == "emoji")
    assert (emoji["only_chosen"], emoji["only_rejected"], emoji["prefers"]) == (2, 1, "with")
    assert emoji["right_alone"] == pytest.approx((2 + 2 / 2) / 5)  # right twice, wrong once, silent twice
    assert emoji["where_it_differs"] == pytest.approx(2 / 3)
    lines = next(row for row in tally.form_table() if row["feature"] == "line break")
    assert lines["prefers"] == "without" and lines["where_it_differs"] == 1.0


def test_features_of_a_text():
    assert features("네, 좋아요!", set()) == {"exclamation mark", "polite ending"}
    assert features("- 하나\n- 둘 😀", set()) == {"markdown", "line break", "emoji", "no final mark"}
    assert features('"그래?"', set()) >= {"begins with a quotation mark", "question mark"}
    assert features("네, 좋아요.<|endoftext|>", {"special_token"}) == {
        "special token",
        "polite ending",
    }  # the ending behind the token is seen
    assert features("네, 좋아요. ", {"trailing_space"}) == {"trailing space", "polite ending"}


def test_responders():
    tally = Tally()
    tally.responders.update({("b", "a"): 3, ("a", "b"): 1, ("a", "a"): 5})
    assert [{k: row[k] for k in ("a", "b", "a_chosen", "b_chosen", "share")} for row in tally.responder_table()] == [
        {"a": "a", "b": "b", "a_chosen": 1, "b_chosen": 3, "share": 0.25}
    ]


def test_the_best_rule_is_measured_on_other_prompts_than_it_was_chosen_on():
    pairs = [("일상", (f"질문 {i}", f"아주 긴 대답 {i}", f"답 {i}")) for i in range(60)]
    table = best_rules(pairs, 1)
    assert table["일상"]["accuracy"] == 1.0 and table["일상"]["n"] == table["일상"]["chosen_on"] == 30
    same_prompt = [("일상", ("질문", f"아주 긴 대답 {i}", f"답 {i}")) for i in range(60)]
    assert "60 pairs of 1 prompts" in best_rules(same_prompt, 1)["all"]["skipped"]


def test_few_pairs_are_skipped_with_a_reason():
    assert "at least 40" in best_rules([("일상", ("질문", "긴 대답", "답"))] * 10, 1)["일상"]["skipped"]


def test_rules_without_signal_stay_near_one_half():
    pairs = [("일상", (f"질문 {i}", f"답 {i * 7919 % 101}", f"답 {i * 104729 % 103}")) for i in range(400)]
    low, high = best_rules(pairs, 1)["all"]["ci95"]
    assert low < 0.5 < high


def test_further_categories_are_counted_together():
    tally = Tally()
    for i in range(labels.CATEGORIES + 5):
        tally.add(f"분류 {i}", [(("가", set()), ("나", set()))])
    assert len(tally.lengths) == labels.CATEGORIES + 1 and tally.lengths[labels.OTHERS]["equal"] == 5


def test_a_rule_that_gives_the_labels_away_is_a_warning():
    strong = {"rule": "longer", "n": 100, "accuracy": 0.9, "ci95": [0.826, 0.945]}
    weak = {"rule": "shorter", "n": 100, "accuracy": 0.6, "ci95": [0.502, 0.691]}
    lines = report.warnings(
        {
            "reward": {"rules": {"everyday": strong, "evol": {"skipped": "2 pairs", "n": 2}, "all": strong}},
            "test": {"rules": {"all": weak}},
        }
    )
    assert [line.split(":")[0] for line in lines] == ["reward pairs", "reward pairs, everyday"]
    assert "'longer' alone tells chosen from rejected in 0.900 of 100 pairs (95 % 0.826-0.945" in lines[0]


NOUNS = [
    "산책",
    "커피",
    "노래",
    "영화",
    "여행",
    "친구",
    "가족",
    "운동",
    "요리",
    "책",
    "바다",
    "강아지",
    "날씨",
    "주말",
    "음식",
]
KIND = ["참 좋네요, 같이 해 봐요.", "정말 멋져요, 응원할게요!", "그랬군요, 힘드셨겠어요.", "천천히 해도 괜찮아요."]
RUDE = ["그걸 왜 나한테 물어.", "귀찮게 하지 마.", "알아서 하든가.", "관심 없다."]


def rigged(n, share, seed=1):
    """(pairs with `share` of the labels turned round, their row numbers)."""
    rng, pairs, turned = random.Random(seed), [], set()
    for i in range(n):
        kind, rude = (
            f"{rng.choice(NOUNS)} {rng.choice(NOUNS)} 이야기네요. {rng.choice(ends)}" for ends in (KIND, RUDE)
        )
        if rng.random() < share:
            turned.add(i)
            kind, rude = rude, kind
        prompt = f"{rng.choice(NOUNS)} 질문 {i}"
        pairs.append(SampledPair(i, f"a.jsonl:{i + 1}", "일상", prompt, kind, rude, hash64(prompt)))
    return pairs, turned


def test_ten_percent_turned_labels_are_found():
    pairs, turned = rigged(400, 0.1)
    found = labels.flips(pairs, 1)
    suspicious = {pairs[i].row for i in np.flatnonzero(found[0] < labels.SUSPICIOUS)}
    assert len(suspicious & turned) / len(suspicious) > 0.8  # by chance it would be .1
    assert len(suspicious & turned) / len(turned) > 0.8
    assert found[1]["suspicious"] == len(suspicious) > 3 * found[1]["expected_by_chance"]
    assert found[1]["wrong_labels_estimated"] == pytest.approx(len(turned) / 400, abs=0.04)
    assert found[1]["accuracy"] == pytest.approx(1 - len(turned) / 400, abs=0.03)


def test_right_labels_are_not_suspected():
    found = labels.flips(rigged(300, 0.0)[0], 1)
    assert found[1]["suspicious"] <= 2 and found[1]["wrong_labels_estimated"] < 0.02


def test_labels_by_chance_are_left_alone():
    found = labels.flips(rigged(300, 0.5)[0], 1)
    assert found[1]["suspicious"] <= 6  # 2 %: nothing can be known of these pairs
    low, high = found[1]["ci95"]
    assert low < 0.5 < high


def test_pairs_of_one_prompt_are_judged_by_models_that_never_saw_it():
    """Answers of letters that no other prompt has: who saw the prompt knows its labels, who did not knows nothing."""
    pairs = [
        p._replace(prompt_hash=i % 30, chosen=chr(0xAC00 + i % 30) * 5, rejected=chr(0xB000 + i % 30) * 5)
        for i, p in enumerate(rigged(240, 0)[0])
    ]
    assert labels.flips(pairs, 1)[1]["accuracy"] == 0.5


def test_few_pairs_have_no_flips():
    assert labels.flips(rigged(50, 0)[0], 1) == "50 pairs; at least 200 are needed"
    assert "1 different prompts" in labels.flips([p._replace(prompt_hash=1) for p in rigged(200, 0)[0]], 1)


def test_fit_recovers_slope_and_lapses():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-3 * logits))  # what a label would be, if nobody slipped
    label = np.where(rng.random(20_000) < 0.1, ~right, right)
    slope, lapse = labels.fit(np.where(label, logits, -logits))
    assert slope == pytest.approx(3, rel=0.1) and lapse == pytest.approx(0.1, abs=0.01)


def test_the_calibration_adds_up():
    figures = labels.flips(rigged(300, 0.1)[0], 1)[1]
    assert sum(row["pairs"] for row in figures["calibration"]) == 300
    assert all(row["from"] <= row["claimed"] <= row["to"] for row in figures["calibration"])


def test_several_pairs_of_a_row_are_not_independent():
    """Five rows of ten pairs: in three all chosen answers are longer and have an emoji, in two none. The intervals are
    those of five rows."""
    tally, right, groups = Tally(), [], []
    for i in range(5):
        long, short = ("가나다", {"emoji"}), ("가", set())
        tally.add("일상", [(long, short) if i < 3 else (short, long)] * 10)
        right += [float(i < 3)] * 10
        groups += [i] * 10
    table, (emoji,) = tally.length_table(), tally.form_table()
    expected = share_interval(right, groups)
    assert table["일상"]["ci95"] == table["all"]["ci95"] == pytest.approx(expected)
    assert emoji["ci95"] == emoji["where_it_differs_ci95"] == pytest.approx(expected)
    assert expected[0] < 0.15 and expected[1] > 0.9  # as independent pairs: .46 to .72
    turned = Tally()
    for i in range(5):
        long, short = ("가나다", {"emoji"}), ("가", set())
        turned.add("일상", [(short, long) if i < 3 else (long, short)] * 10)
    (emoji,) = turned.form_table()
    assert emoji["prefers"] == "without" and emoji["ci95"] == pytest.approx(expected)


def test_nothing_is_estimated_of_labels_where_the_votes_may_be_a_coins():
    figures = labels.flips(rigged(300, 0.5)[0], 1)[1]
    assert figures["ci95"][0] <= 0.5 and figures["wrong_labels_estimated"] is None
    assert labels.flips(rigged(300, 0.1)[0], 1)[1]["wrong_labels_estimated"] > 0.05

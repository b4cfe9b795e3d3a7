"""What tells chosen from rejected answers: counts by hand."""

import pytest
from scipy.stats import binomtest

from korlhf.core.stats import wilson
from korlhf.data_prep.audit import bias, report
from korlhf.data_prep.audit.bias import Tally, best_rules, features


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
        tally.add(category, chosen, rejected, set(), set())
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
        tally.add("일상", "가", "나", has, has_not)
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
    for i in range(bias.CATEGORIES + 5):
        tally.add(f"분류 {i}", "가", "나", set(), set())
    assert len(tally.lengths) == bias.CATEGORIES + 1 and tally.lengths[bias.OTHERS]["equal"] == 5


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

"""Agreement against scikit-learn and statsmodels, and by hand."""

import random

import pytest
from label_harness import given, order
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from korlhf.applications.label import agreement
from korlhf.applications.label.items import Item
from korlhf.data.ranking import Candidate

VERDICTS = [order([0]), order([1]), order([0, 1]), {"kind": "all_bad"}]


def items(n, k=2):
    return {i: Item(f"{i:016x}", {}, tuple(Candidate(f"{i}-{j}", place=j) for j in range(k))) for i in range(n)}


def of_numbers(said):
    """{item: labels} of rows of numbers of VERDICTS, one for each person."""
    return {i: given(*(VERDICTS[v] for v in row), k=2) for i, row in enumerate(said)}


def random_labels(n, people):
    """People who say the same as a hidden truth two times in three -> (items, labels, the numbers of VERDICTS with
    first and second exchanged where an item is turned round)."""
    rng, said = random.Random(people), []
    for truth in [rng.randrange(4) for _ in range(n)]:
        said.append([truth if rng.random() < 2 / 3 else rng.randrange(4) for _ in range(people)])
    turned = [agreement._first(item.id, 0, 1) == 1 for item in items(n).values()]
    seen = [[{0: 1, 1: 0}.get(v, v) if turn else v for v in row] for turn, row in zip(turned, said)]
    return items(n), of_numbers(said), seen


@pytest.mark.parametrize("people, raters", [(2, 2), (3, 3), (3, 2)])  # a third label, come late, is not for Fleiss
def test_kappas_are_those_of_the_libraries(people, raters):
    found_items, labels, seen = random_labels(150, people)
    found = agreement.summary(found_items, labels, raters)
    table, _ = aggregate_raters([row[:raters] for row in seen])
    assert found["fleiss"] == pytest.approx(fleiss_kappa(table), abs=1e-12) and found["fleiss_n"] == 150
    for c in found["cohen"]:
        one, two = [row[c["first"] - 1] for row in seen], [row[c["second"] - 1] for row in seen]
        assert c["kappa"] == pytest.approx(cohen_kappa_score(one, two), abs=1e-12) and c["n"] == 150
        assert c["percent"] == sum(a == b for a, b in zip(one, two)) / 150
    assert len(found["cohen"]) == people * (people - 1) / 2


def test_percent_by_hand():
    labels = of_numbers([[0, 0, 1], [2, 2], [3]])  # 1 of 3 pairs of people, 1 of 1
    labels[3] = given({"kind": "skip"}, VERDICTS[0], k=2)
    found = agreement.summary(items(4), labels, 2)
    assert (found["percent"], found["percent_n"]) == (0.5, 4)


def test_of_several_answers_every_two_are_compared_and_what_is_not_said_is_left_out():
    labels = {
        0: given(order([2]), order([2], [0], [1])),  # 2 of 2: the first person says nothing of 0 and 1
        1: given(order([0], [1, 2]), order([0], [1], [2])),  # 0>1, 0>2 the same; 1=2 against 1>2
    }
    found = agreement.summary(items(2, 3), labels, 2)
    assert (found["percent"], found["percent_n"]) == (0.8, 5) and found["cohen"][0]["n"] == 5


def test_the_order_in_the_file_does_not_raise_chance_agreement():
    """In a file of pairs the chosen answer stands first in every row. Two people find it 9 times in 10 each, and
    agree in 82 of 100.

    By place, chance gives .9 * .9 + .1 * .1 = .82 and kappa is 0, however well they choose; with places drawn it
    gives .5, kappa .64."""
    said = [[0, 0]] * 81 + [[0, 1]] * 9 + [[1, 0]] * 9 + [[1, 1]]
    assert cohen_kappa_score(*zip(*said)) == pytest.approx(0.0, abs=1e-9)
    found = agreement.summary(items(100), of_numbers(said), 2)
    assert found["cohen"][0]["kappa"] == pytest.approx(0.64, abs=0.03)


def test_without_two_labels_there_are_no_figures_and_all_the_same_is_full_agreement():
    none = {"percent": None, "percent_n": 0, "fleiss": None, "fleiss_n": 0, "cohen": []}
    assert agreement.summary(items(1), of_numbers([[0]]), 2) == none == agreement.summary(items(1), {}, 1)
    assert agreement.summary(items(1), of_numbers([[2, 2]]), 2)["fleiss"] == 1.0

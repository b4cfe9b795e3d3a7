"""Agreement against scikit-learn and statsmodels, and by hand."""

import random

import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from korlhf.applications.label import agreement
from korlhf.applications.label.items import Item
from korlhf.applications.label.store import Given
from korlhf.applications.label.verdicts import read
from korlhf.data.ranking import Candidate


def item(i, k=2):
    return Item(
        f"{i:016x}", {"id": f"{i:016x}", "prompt": f"{i}"}, tuple(Candidate(f"{i}-{j}", (), None, j) for j in range(k))
    )


def label(annotator, data, k=2):
    return Given(annotator, annotator, read(data, k), tuple(range(k)), 1.0, "2026-01-01T00:00:00.000+00:00")


def order(*groups):
    return {"kind": "order", "groups": [list(g) for g in groups]}


VERDICTS = [order([0]), order([1]), order([0, 1]), {"kind": "all_bad"}]


def random_labels(n, people, seed):
    """People who say the same as a hidden truth two times in three -> ({number: item}, labels, list of verdict numbers a person)."""
    rng = random.Random(seed)
    said = []
    for _ in range(n):
        truth = rng.randrange(4)
        said.append([truth if rng.random() < 2 / 3 else rng.randrange(4) for _ in range(people)])
    labels = {i: [label(p + 1, VERDICTS[v]) for p, v in enumerate(row)] for i, row in enumerate(said)}
    return {i: item(i) for i in range(n)}, labels, said


def flipped(items, said):
    """The verdict numbers with first and second exchanged where the items are turned round, as the figures see them."""
    return [
        [{0: 1, 1: 0}.get(v, v) if agreement._swap(items[i].id, 0, 1) else v for v in row] for i, row in enumerate(said)
    ]


def test_cohen_is_that_of_scikit_learn():
    items, labels, said = random_labels(200, 3, 1)
    found = {(c["first"], c["second"]): c for c in agreement.summary(items, labels, 2)["cohen"]}
    turned = flipped(items, said)
    assert set(found) == {(1, 2), (1, 3), (2, 3)}
    for (a, b), figures in found.items():
        one, two = [row[a - 1] for row in turned], [row[b - 1] for row in turned]
        assert figures["kappa"] == pytest.approx(cohen_kappa_score(one, two), abs=1e-12) and figures["n"] == 200
        assert figures["percent"] == sum(row[a - 1] == row[b - 1] for row in said) / 200


@pytest.mark.parametrize("raters", [2, 3, 5])
def test_fleiss_is_that_of_statsmodels(raters):
    items, labels, said = random_labels(150, raters, raters)
    found = agreement.summary(items, labels, raters)
    table, _ = aggregate_raters(flipped(items, said))
    assert found["fleiss"] == pytest.approx(fleiss_kappa(table), abs=1e-12) and found["fleiss_n"] == 150


def test_percent_by_hand():
    labels = {
        0: [label(1, VERDICTS[0]), label(2, VERDICTS[0]), label(3, VERDICTS[1])],  # 1 of 3 pairs of people
        1: [label(1, VERDICTS[2]), label(2, VERDICTS[2])],  # 1 of 1
        2: [label(1, VERDICTS[3])],
        3: [label(1, {"kind": "skip"}), label(2, VERDICTS[0])],
    }
    found = agreement.summary({i: item(i) for i in range(4)}, labels, 2)
    assert (found["percent"], found["percent_n"]) == (0.5, 4)


def test_of_several_answers_every_two_are_compared_and_what_is_not_said_is_left_out():
    labels = {
        0: [
            label(1, order([2]), 3),
            label(2, order([2], [0], [1]), 3),
        ],  # 2 of 2: the first person says nothing of 0 and 1
        1: [label(1, order([0], [1, 2]), 3), label(2, order([0], [1], [2]), 3)],
    }  # 0>1, 0>2 the same; 1=2 against 1>2
    found = agreement.summary({0: item(0, 3), 1: item(1, 3)}, labels, 2)
    assert (found["percent"], found["percent_n"]) == (0.8, 5) and found["cohen"][0]["n"] == 5


def test_the_order_in_the_file_does_not_raise_chance_agreement():
    """In a file of pairs the chosen answer stands first in every row. Two people find it 9 times in 10 each, and agree in 82 of 100.

    By place, chance gives .9 * .9 + .1 * .1 = .82 and kappa is 0, however well they choose; with places drawn it gives .5, kappa .64.
    """
    said = [[0, 0]] * 81 + [[0, 1]] * 9 + [[1, 0]] * 9 + [[1, 1]]
    items = {i: item(i) for i in range(100)}
    labels = {i: [label(p + 1, VERDICTS[v]) for p, v in enumerate(row)] for i, row in enumerate(said)}
    assert cohen_kappa_score([a for a, _ in said], [b for _, b in said]) == pytest.approx(0.0, abs=1e-9)
    assert agreement.summary(items, labels, 2)["cohen"][0]["kappa"] == pytest.approx(0.64, abs=0.03)


def test_without_two_labels_there_are_no_figures():
    found = agreement.summary({0: item(0)}, {0: [label(1, VERDICTS[0])]}, 2)
    assert found == {"percent": None, "percent_n": 0, "fleiss": None, "fleiss_n": 0, "cohen": []}
    assert agreement.summary({0: item(0)}, {}, 1)["fleiss"] is None


def test_all_the_same_is_full_agreement_and_late_labels_do_not_count_for_fleiss():
    same = {0: [label(p, VERDICTS[2]) for p in (1, 2)]}
    assert agreement.summary({0: item(0)}, same, 2)["fleiss"] == 1.0
    items, labels, said = random_labels(60, 3, 9)
    table, _ = aggregate_raters([row[:2] for row in flipped(items, said)])
    assert agreement.summary(items, labels, 2)["fleiss"] == pytest.approx(fleiss_kappa(table), abs=1e-12)

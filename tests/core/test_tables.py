"""korlhf/core/tables.py: the cells that people read."""

import pytest

from korlhf.core.tables import both, cell, column, estimate, plain, table


def test_cells_as_text():
    assert [
        cell(v, 2, "ko") for v in (None, 0.126, 12345, "가", both("tie", "비김"), estimate(0.5, 0.123, 1.0), True)
    ] == ["–", "0.13", "12,345", "가", "비김", "0.50 [0.12, 1.00]", "True"]
    assert (
        cell(estimate(-0.2, -0.31, -0.001), 2, "en") == "-0.20 [-0.31, 0.00]"
    )  # a dash between them would read as a third sign


def test_a_small_p_is_not_shown_as_0():
    assert [cell(v, 4, "en") for v in (0.0, 0.00004, 0.00006, -0.00004)] == ["0.0000", "<0.0001", "0.0001", "0.0000"]


def test_a_hangul_syllable_is_two_columns_wide():
    found = table(
        both("T", "표"),
        [column("model", "모델"), column("n", "개수")],
        [["가나다", 5], ["[b]ppo[/b]", 12345]],
        [both("note", "참고")],
    )
    assert plain(found, "en").splitlines() == [
        "T",
        "  model            n",
        "  가나다           5",
        "  [b]ppo[/b]  12,345",
        "  note",
    ]
    assert plain(found, "ko").splitlines()[1] == "  모델          개수"


def test_nothing_is_cut_or_coloured_wherever_it_is_printed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    found = table(both("T", "표"), [column("a", "가"), column("b", "나")], [["긴 글 " * 60, 0.5]])
    assert plain(found).splitlines()[2] == f"  {'긴 글 ' * 60}  0.500"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        table(both("T", "표"), [column("a", "가"), column("b", "나")], [["x"]])

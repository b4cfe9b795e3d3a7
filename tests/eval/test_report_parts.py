"""What the report makes of a run's answers, curves and tables: rows side by side, drawings, texts of cells."""

import re

import pytest
from report_run import PROMPTS, judged_rows, line, make_result, make_stages, verdict_rows

from korlhf.core.tables import both, column, estimate, table
from korlhf.eval.report import answers, charts, curves, gather, grids, page

# --- answers


def test_answers_of_several_programs_become_one_row(tmp_path):
    make_stages(tmp_path)
    make_result(tmp_path, "geval", judged_rows())
    make_result(tmp_path, "harmlessness", verdict_rows())
    side = answers.merge(gather.read_run(tmp_path))
    assert side["models"] == ["sft", "ppo"] and side["sources"] == ["geval", "harmlessness", "ppo/heldout_answers"]
    assert [row["c"] for row in side["rows"]] == [category for category, _ in PROMPTS]
    first = side["rows"][0]
    assert first["m"] == [["user", PROMPTS[0][1]]] and first["n"] == [[1, "kind", "everyday"]]
    notes = [[0, "score", 2.0], [1, "verdict · rules", "refuses"]]
    assert first["a"]["sft"] == [
        {"t": "짧은 답 0", "f": "stop", "k": 5, "s": [0, 1], "n": notes},
        {"t": "처음 답변 0", "s": [2], "n": [[2, "score", 1.0]]},
    ]
    assert [a["t"] for a in first["a"]["ppo"]] == ["조금 더 긴 답변이에요 0", "다른 답 0", "나중 답변 0"]
    assert side["rows"][3]["a"]["ppo"][1] == {"t": None, "x": "timeout: no reply", "s": [1], "n": []}
    verdicts = {"kind": ["everyday", "harmful", "lookalike"], "verdict · rules": ["corrects", "goes_along", "refuses"]}
    assert side["verdicts"] == verdicts


def test_two_equal_samples_of_one_program_stay_two(tmp_path):
    samples = [{"text": "네"}, {"text": "네"}, {"text": ""}]
    kl = {"sft": {"text": "네네", "k1": 2.5}, "all": [1]}
    make_result(tmp_path, "geval", [line("a", "안녕?", {"sft": samples}, kl=kl)])
    side = answers.merge(gather.read_run(tmp_path))
    row = side["rows"][0]
    assert row["n"] == [[0, "kl · sft · k1", 2.5]] and [a["t"] for a in row["a"]["sft"]] == ["네", "네", ""]
    assert row["d"] is None and side["scores"] == []


def test_rows_are_sorted_by_the_difference_in_standard_deviations(tmp_path):
    def row(prompt, sft, *ppo, name="score"):
        return line("a", prompt, {"sft": [{"text": "x", name: sft}], "ppo": [{"text": str(v), name: v} for v in ppo]})

    make_result(tmp_path, "geval", [row("하나", 2.0, 2.0), row("둘", 1.0, 2.0, 4.0), row("셋", 9.0, 1.0, name="n")])
    side = answers.merge(gather.read_run(tmp_path))
    # 2, 2, 1 and the mean of 2 and 4: standard deviation sqrt(.5)
    assert [row["d"] for row in side["rows"]] == [0.0, round(2 / 0.5**0.5, 3), None] and side["scores"] == ["score"]


# --- drawings and tables


def labels(svg):
    return re.findall(r">([^<>]+)</text>", svg)


def test_long_lines_are_means_of_equal_runs():
    points = [(x, 10.0 * x) for x in range(1, 8)]
    assert charts.thinned(points, 3) == ([(2.0, 20.0), (5.0, 50.0), (7.0, 70.0)], 3)
    assert charts.thinned(points, 7) == (points, 1)


def test_a_line_chart_has_its_points_where_they_belong():
    chart = charts.lines([("heldout", [(0, 0.0), (50, 0.05), (100, 0.1)], True)], "a")
    # the frame: x 52 to 388, y 200.1 (bottom) to 16.1 (top)
    assert "M 52 200.1 L 220 108.1 L 388 16.1" in chart.svg and chart.svg.count("var(--heldout)") > 3
    assert labels(chart.svg) == ["0", "20", "40", "60", "80", "100", "0", "0.05", "0.1"]  # with all their digits
    assert chart.readings == [[[0.13, "0", "0"], [0.55, "50", "0.05"], [0.97, "100", "0.1"]]]


def test_drawings_are_the_same_each_time_and_share_no_ids():
    one, again, other = (charts.lines([("training", [(1, 2.0), (2, 1.0)], True)], salt).svg for salt in "aab")
    assert one == again and one != other and "20" not in re.sub(r'"[^"]*"', "", one)  # no date
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0] and not ids[0] & ids[1] and "clip-path" not in one and "font-family" not in one


def test_curves_of_a_stage_pair_training_with_held_out(tmp_path):
    metrics = [{"step": 0, "heldout_loss": 3.0}]
    metrics += [{"step": s, "loss": 2.0, "lr": 0.1, "epoch": 0.5, "new_thing": 4, "text": "x"} for s in range(1, 500)]
    main, more = curves.of_stage(gather.Stage("sft", tmp_path, metrics=metrics))
    lines = [(line["name"]["ko"], line["mean_of"]) for line in main[0]["lines"]]
    assert [p["title"]["en"] for p in main] == ["Loss"] and lines == [("학습", 3), ("평가용", 1)]
    assert [p["title"]["en"] for p in more] == ["Learning rate", "new_thing"]


def dots(svg):
    """Places of the dots from left to right."""
    return [float(x) for x in re.findall(r'<use href="[^"]+" x="([^"]+)"', svg)]


def test_whiskers_share_a_scale_only_if_none_is_squeezed():
    wide, alike, small = estimate(0.5, 0.0, 1.0), estimate(0.5, 0.2, 0.9), estimate(0.1, 0.1, 0.15)
    one, two = charts.whiskers([[wide, None], [alike, alike]], "a")
    # 18 at the low end, 118 at the high end; rows in the middle of 22 each
    assert dots(one) == [68.0] and dots(two) == [68.0, 68.0] and labels(one) == labels(two) == ["0", "0.5", "1"]
    assert "M 18 11 L 118 11" in one and "M 38 33 L 108 33" in two and 'viewBox="0 0 136 66"' in one
    assert "stroke-dasharray" in one  # where 0 is
    half = charts.whiskers([[wide], [estimate(0.55, 0.5, 0.75)]], "a")[1]
    assert dots(half) == [38.0] and "M 18 11 L 118 11" in half and "stroke-dasharray" not in half  # a scale of its own
    assert dots(charts.whiskers([[wide], [small], [None]], "a")[1]) == [18.0]
    assert charts.whiskers([[None], [estimate(float("nan"), 0.0, 1.0)]], "a") == [None, None]
    assert dots(charts.whiskers([[estimate(0.2, 0.2, 0.2 + 1e-13)]], "a")[0]) == [68.0]  # hardly apart


def test_cells_of_a_table():
    columns = [column("model", "모델"), column("n", "개수"), column("x", "값", 2), column("p", "p", 4)]
    first = ["sft", 1200, estimate(-0.125, -0.5, 0.25), 0.00004]
    ready = grids.ready(table(both("T", "표"), columns, [first, [both("all", "전체"), None, None, "<0.0001"]]), "a")
    assert [c["right"] for c in ready["columns"]] == [False, True, True, True]
    assert [bool(c["plot"]) for c in ready["columns"]] == [False, False, True, False]
    texts = [[cell["text"]["ko"] for cell in row] for row in ready["rows"]]
    assert texts == [["sft", "1,200", "−0.12", "<0.0001"], ["전체", "–", "–", "<0.0001"]]
    assert ready["rows"][0][2]["interval"] == "[−0.50, 0.25]"


def test_calibration_is_found_wherever_it_stands():
    bins = [{"predicted": 0.6, "won": 0.5, "n": 25, "interval": [0.25, 0.75]}, {"predicted": 1.0, "won": 1.0, "n": 100}]
    figures = {"models": {"reward": {"calibration": {"bins": bins}}, "other": {"calibration": bins}}, "n": 3}
    (one, chart), (two, _) = page.calibrations(figures, "a")
    assert (one, two) == ("reward", "other")
    # x from .5 to 1, y from 0 to 1: the whisker from .25 to .75 of the height
    assert "M 119.2 154.1 L 119.2 62.1" in chart.svg and "M 52 108.1 L 388 16.1" in chart.svg  # and the diagonal
    shares, texts = zip(*((share, (x, y["en"], y["ko"])) for share, x, y in chart.readings[0]))
    assert shares == pytest.approx((0.298, 0.97)) and texts[0] == ("0.600", "0.500, n 25", "0.500, 25쌍")
    assert page.calibrations({"calibration": []}, "a") == [] and page.calibrations([1], "a") == []

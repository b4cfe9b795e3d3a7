"""What the report makes of a run's answers, curves and tables: rows side by side, places in drawings, texts of cells."""

import pytest
from report_run import PROMPTS, judged_rows, line, make_result, make_stages, verdict_rows

from korlhf.core.tables import both, column, estimate, table
from korlhf.eval.report import answers, charts, curves, gather, grids, page


@pytest.fixture
def run(tmp_path):
    """A folder with three stages and two results."""
    make_stages(tmp_path)
    make_result(tmp_path, "geval", judged_rows())
    make_result(tmp_path, "harmlessness", verdict_rows())
    return tmp_path


# --- answers


def test_answers_of_several_programs_become_one_row(run):
    side = answers.merge(gather.read_run(run))
    assert side["models"] == ["sft", "ppo"] and side["sources"] == ["geval", "harmlessness", "ppo/heldout_answers"]
    assert [row["c"] for row in side["rows"]] == [c for c, _ in PROMPTS] and side["rows"][0]["m"] == [
        ["user", PROMPTS[0][1]]
    ]
    first = side["rows"][0]
    assert first["a"]["sft"] == [
        {
            "t": "짧은 답 0",
            "f": "stop",
            "k": 5,
            "s": [0, 1],
            "n": [[0, "score", 2.0], [1, "verdict · rules", "refuses"]],
        },
        {"t": "처음 답변 0", "s": [2], "n": [[2, "score", 1.0]]},
    ]
    assert [a["t"] for a in first["a"]["ppo"]] == ["조금 더 긴 답변이에요 0", "다른 답 0", "나중 답변 0"]
    assert side["rows"][3]["a"]["ppo"][1] == {"t": None, "x": "timeout: no reply", "s": [1], "n": []}
    assert first["n"] == [[1, "kind", "everyday"]]
    assert side["verdicts"] == {
        "kind": ["everyday", "harmful", "lookalike"],
        "verdict · rules": ["corrects", "goes_along", "refuses"],
    }


def test_two_equal_samples_of_one_program_stay_two(tmp_path):
    make_result(
        tmp_path,
        "geval",
        [
            line(
                "a",
                "안녕?",
                {"sft": [{"text": "네"}, {"text": "네"}, {"text": ""}]},
                kl={"sft": {"text": "네네", "k1": 2.5}, "all": [1]},
            )
        ],
    )
    side = answers.merge(gather.read_run(tmp_path))
    assert side["rows"][0]["n"] == [[0, "kl · sft · k1", 2.5]]
    assert (
        [a["t"] for a in side["rows"][0]["a"]["sft"]] == ["네", "네", ""]
        and side["rows"][0]["d"] is None
        and side["scores"] == []
    )


def test_rows_are_sorted_by_the_difference_in_standard_deviations(tmp_path):
    rows = [
        line("a", "하나", {"sft": [{"text": "x", "score": 2.0}], "ppo": [{"text": "y", "score": 2.0}]}),
        line(
            "a",
            "둘",
            {"sft": [{"text": "x", "score": 1.0}], "ppo": [{"text": "y", "score": 2.0}, {"text": "z", "score": 4.0}]},
        ),
        line("a", "셋", {"sft": [{"text": "x", "repetition": 9.0}], "ppo": [{"text": "y", "repetition": 1.0}]}),
    ]
    make_result(tmp_path, "geval", rows)
    side = answers.merge(gather.read_run(tmp_path))
    # 2, 2, 1 and the mean of 2 and 4: standard deviation sqrt(.5)
    assert [row["d"] for row in side["rows"]] == [0.0, round(2 / 0.5**0.5, 3), None] and side["scores"] == ["score"]


# --- drawings and tables


@pytest.mark.parametrize(
    "low, high, about, expected",
    [
        (0, 10, 4, [0, 5, 10]),
        (1.3, 8.4, 4, [0, 2, 4, 6, 8, 10]),
        (-0.25, 0.9, 4, [-0.5, 0, 0.5, 1.0]),
        (3, 3, 4, [2.6, 2.8, 3.0, 3.2, 3.4]),
        (0, 0, 2, [-1, 0, 1]),
        (0.0001, 0.0009, 4, [0, 0.0002, 0.0004, 0.0006, 0.0008, 0.001]),
    ],
)
def test_ticks_are_round_and_hold_the_values(low, high, about, expected):
    assert charts.ticks(low, high, about) == pytest.approx(expected)


@pytest.mark.parametrize(
    "value, apart, expected",
    [
        (0.5, 0.25, "0.5"),
        (0.25, 0.05, "0.25"),
        (20, 10, "20"),
        (-1.5, 0.5, "−1.5"),
        (12000, 2000, "12k"),
        (3500000, 500000, "3.5M"),
        (0.0002, 0.0001, "0.0002"),
        (0, 0.0001, "0.0000"),
    ],
)
def test_labels_of_ticks(value, apart, expected):
    assert charts.label(value, apart) == expected


def test_long_lines_are_means_of_equal_runs():
    points = [(x, 10.0 * x) for x in range(1, 8)]
    assert charts.thinned(points, 3) == ([(2.0, 20.0), (5.0, 50.0), (7.0, 70.0)], 3)
    assert charts.thinned(points, 7) == (points, 1)


def test_a_line_chart_has_its_points_where_they_belong():
    chart = charts.lines(
        [
            {
                "name": both("held-out", "평가용"),
                "points": [(0, 0.0), (50, 5.0), (100, 10.0), (100, float("nan"))],
                "marked": True,
            }
        ]
    )
    # the frame: x 50 to 388, y 200 (bottom) to 12 (top)
    assert (
        chart["series"][0]["dots"] == [(50.0, 200.0), (219.0, 106.0), (388.0, 12.0)]
        and chart["series"][0]["path"] == "50,200 219,106 388,12"
    )
    assert [t["label"] for t in chart["x"]] == ["0", "20", "40", "60", "80", "100"] and [
        t["label"] for t in chart["y"]
    ] == ["0", "5", "10"]
    assert [(b["step"], b["values"][0][1]) for b in chart["bands"]] == [("0", "0"), ("50", "5"), ("100", "10")]
    assert charts.lines([{"name": both("a", "a"), "points": [], "marked": True}]) is None


def test_bands_are_few_and_tell_every_line():
    many = [(x, float(x)) for x in range(1, 1001)]
    chart = charts.lines(
        [
            {"name": both("training", "학습"), "points": many, "marked": False},
            {"name": both("held-out", "평가용"), "points": [(0, 7.0), (1000, 8.0)], "marked": True},
        ]
    )
    assert chart["series"][0]["size"] == 5 and len(chart["series"][0]["path"].split()) == 200
    assert len(chart["bands"]) <= charts.BANDS and chart["bands"][0]["values"] == [
        (both("training", "학습"), "3"),
        (both("held-out", "평가용"), "7"),
    ]


def test_curves_of_a_stage_pair_training_with_held_out():
    main, more = curves.of_stage(
        [
            {"step": 0, "heldout_loss": 3.0},
            {"step": 1, "loss": 2.0, "lr": 0.1, "epoch": 0.5, "new_thing": 4, "text": "x"},
        ]
    )
    assert [p["title"]["en"] for p in main] == ["Loss"] and [s["name"]["en"] for s in main[0]["chart"]["series"]] == [
        "training",
        "held-out",
    ]
    assert [p["title"]["en"] for p in more] == ["Learning rate", "new_thing"]


def test_whiskers_share_a_scale_only_if_none_is_squeezed():
    wide, alike, small = estimate(0.5, 0.0, 1.0), estimate(0.5, 0.2, 0.9), estimate(0.1, 0.1, 0.15)
    one, two = charts.whiskers([[wide, None], [alike, alike]])
    # 8 at the low end, 112 at the high end
    assert one["cells"] == [{"low": 8.0, "mean": 60.0, "high": 112.0}, None] and two["cells"][0] == {
        "low": 28.8,
        "mean": 60.0,
        "high": 101.6,
    }
    assert [(t["label"], t["at"], t["zero"]) for t in one["ticks"]] == [
        ("0.0", 8.0, True),
        ("0.5", 60.0, False),
        ("1.0", 112.0, False),
    ]
    assert charts.whiskers([[wide], [estimate(0.5, 0.25, 0.75)]])[1]["cells"] == [
        {"low": 8.0, "mean": 60.0, "high": 112.0}
    ]  # half as wide: its own scale
    assert charts.whiskers([[estimate(0.2, 0.2, 0.2 + 1e-13)]])[0]["cells"][0] == {
        "low": 8.0,
        "mean": 8.0,
        "high": 112.0,
    }  # hardly apart
    assert charts.whiskers([[wide], [small], [None]])[1]["cells"] == [
        {"low": 8.0, "mean": 8.0, "high": 112.0}
    ] and charts.whiskers([[None]]) == [None]


def test_cells_of_a_table():
    ready = grids.ready(
        table(
            both("T", "표"),
            [column("model", "모델"), column("n", "개수"), column("x", "값", 2), column("p", "p", 4)],
            [["sft", 1200, estimate(-0.125, -0.5, 0.25), 0.00004], [both("all", "전체"), None, None, "<0.0001"]],
        )
    )
    assert (
        [c["right"] for c in ready["columns"]] == [False, True, True, True]
        and ready["columns"][2]["plot"]
        and not ready["columns"][3]["plot"]
    )
    assert [[cell["text"]["ko"] for cell in row] for row in ready["rows"]] == [
        ["sft", "1,200", "−0.12", "<0.0001"],
        ["전체", "–", "–", "<0.0001"],
    ]
    assert ready["rows"][0][2]["interval"] == "[−0.50, 0.25]" and ready["rows"][1][2]["dot"] is None


def test_calibration_is_found_wherever_it_stands():
    bins = [
        {"from": 0.5, "to": 0.75, "predicted": 0.6, "won": 0.5, "n": 25, "interval": [0.25, 0.75]},
        {"from": 0.75, "to": 1, "predicted": 1.0, "won": 1.0, "n": 100},
    ]
    (one, chart), (two, _) = page.calibrations(
        {"models": {"reward": {"calibration": {"bins": bins}}, "other": {"calibration": bins}}, "n": 3}
    )
    assert (one, two) == ("reward", "other") and chart["line"] == [50.0, 106.0, 388.0, 12.0]
    assert chart["dots"][0] == {
        "x": 117.6,
        "y": 106.0,
        "r": 5.5,
        "low": 153.0,
        "high": 59.0,
        "predicted": "0.600",
        "won": "0.500",
        "n": "25",
    }
    assert page.calibrations({"calibration": []}) == [] and page.calibrations([1]) == []

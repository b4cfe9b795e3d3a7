"""Which curves are drawn of a stage's metrics.jsonl, under which names."""

from korlhf.eval.report import charts
from korlhf.eval.report.words import name_of, say

# The training's line of a metric and the line heldout_METRIC share a chart; those of other metrics are folded.
MAIN = ("loss", "accuracy", "margin", "score", "kl", "eos_rate", "length", "friendly", "sense", "ref_nll", "repetition")
NOT_DRAWN = {"step", "epoch", "answers"}
FEW = 40  # points of a line that are marked one by one


def of_stage(stage):
    """(charts, folded charts) of a stage, those without points left out: lists of {"title", "chart": charts.Chart,
    "lines": [{"colour", "name", "mean_of": points that one stands for}]}."""
    names = dict.fromkeys(name for row in stage.metrics for name, value in row.items() if charts.finite(value))
    names = dict.fromkeys(name.removeprefix("heldout_") for name in names if name not in NOT_DRAWN)
    main, more = [name for name in MAIN if name in names], [name for name in names if name not in MAIN]
    return [_panel(stage, name) for name in main], [_panel(stage, name) for name in more]


def _panel(stage, metric):
    lines, series = [], []
    for colour, key in (("training", metric), ("heldout", f"heldout_{metric}")):
        points = [(row["step"], row[key]) for row in stage.metrics if charts.finite(row.get(key))]
        if points:
            marked = colour == "heldout" or len(points) <= FEW
            points, mean_of = charts.thinned(points)
            series.append((colour, points, marked))
            lines.append({"colour": colour, "name": say(f"charts.{colour}"), "mean_of": mean_of})
    chart = charts.lines(series, f"{stage.name}/{metric}")
    return {"title": name_of("curves", metric), "chart": chart, "lines": lines}

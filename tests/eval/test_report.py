"""eval/report.py: what it reads, what it warns of, what it draws, and that the page takes nothing from the data as HTML."""

import base64
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_run import PROMPTS, judged_rows, line, make_result, make_stage, make_stages, verdict_rows, write

from korlhf import local
from korlhf.errors import InputError
from korlhf.report import answers, charts, checks, curves, gather, grids, page, summary
from korlhf.tables import both, column, estimate, table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("report", ROOT / "eval" / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tmp_path):
    """A folder with three stages and two results."""
    make_stages(tmp_path)
    make_result(tmp_path, "geval", judged_rows(), warnings=[("few prompts", "프롬프트가 적습니다"), ("odd judge", "심판이 이상합니다")])
    make_result(tmp_path, "harmlessness", verdict_rows(), warnings=[("few prompts", "프롬프트가 적습니다")])
    return tmp_path


class Parts(HTMLParser):
    """Tags with their attributes, texts of <section> ids, and the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.scripts = [], [], []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag):
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data):
        (self.scripts if self._in_script else self.text).append(data)


def made(program, run, *flags):
    program.main(["--run_dir", str(run), *flags])
    text = (run / "report.html").read_text(encoding="utf-8")
    return text, Parts(text)


def warned(run):
    return [(tuple(one.name for one in w["about"]), w["text"]["en"]) for w in checks.warnings(gather.read_run(run))]


# --- the page as a whole

def test_the_page_holds_everything_in_its_order(program, run):
    text, parts = made(program, run, "--title", "첫 실험 <1>")
    sections = [a["id"] for tag, a in parts.tags if tag == "section"]
    assert sections == ["warnings", "summary", "stages", "curves", "results", "answers", "cards"]
    shown = " ".join(" ".join(parts.text).split())
    for wanted in ("첫 실험 <1>", "few prompts.", "프롬프트가 적습니다.", "4.500", "2.250", "0.892", "95 % interval 0.862–0.916",
                   "best trivial rule 0.522 (polite ending)", "가장 나은 단순 규칙 0.522 (공손한 어미로 끝남)",
                   "EOS rate 0.990 → 1.000", "sample/sft: 1,393 examples (split 10,0,0)", "kullm", "actor 2e-06, critic 9e-06 (cosine)",
                   "rank actor 16", "1 min 17 s",
                   "803 MiB", "87 steps, 1 epoch, 32 a step, at most 192 tokens", "−0.250", "[−0.500, 0.000]", "<0.0001",
                   "Higher is better.", "로컬 심판",
                   "모델 카드 sft", "python -u main.py --output_dir ppo"):
        assert wanted in shown, wanted
    assert shown.index("few prompts.") < shown.index("4.500")
    links = [a["href"] for tag, a in parts.tags if tag == "a" and not a["href"].startswith("#")]
    assert links == ["sft/README.md", "reward/README.md", "ppo/README.md"]
    ids = [a["id"] for _, a in parts.tags if "id" in a]
    assert len(ids) == len(set(ids)) and {a["href"][1:] for tag, a in parts.tags if tag == "a" and a["href"].startswith("#")} <= set(ids)


def test_nothing_comes_from_outside(program, run):
    text, parts = made(program, run)
    assert not [a for tag, a in parts.tags for name in ("src", "href", "data", "action", "srcset") if re.match(r"(https?:)?//",
                                                                                                               a.get(name) or "")]
    assert not {tag for tag, _ in parts.tags} & {"link", "img", "iframe", "object", "embed", "base", "audio", "video"}
    assert "@import" not in text and "url(" not in text
    policy = next(a["content"] for tag, a in parts.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(parts.scripts[-1].encode("utf-8")).digest()).decode()
    assert policy.startswith("default-src 'none';") and f"script-src 'sha256-{digest}'" in policy


HOSTILE = '"><img src=x onerror="hit()"></script><!--<script>hit()</script>\' \u202eabc\u200b'


def test_texts_of_the_data_stay_texts(program, tmp_path):
    name = '<img src=x onerror=hit()>"\''
    make_stage(tmp_path / name, {"train_on_prompt": False, "model_name_or_path": HOSTILE, "data_path": [HOSTILE], "processes": 1,
                                 HOSTILE: HOSTILE},
               {"heldout_before": None, "heldout_after": {"loss": 1.0, "n": 3, HOSTILE: HOSTILE}}, [{"step": 1, "loss": 1.0, HOSTILE: 2.0}])
    (tmp_path / name / "README.md").write_text(HOSTILE, encoding="utf-8")
    rows = [line(HOSTILE, HOSTILE, {HOSTILE: [{"text": HOSTILE, "verdict": HOSTILE, "score": 1.5}, {"text": None, "failed": HOSTILE}]},
                 note=HOSTILE[:30])]
    make_result(tmp_path, "geval", rows, warnings=[(HOSTILE, HOSTILE)], protocol={HOSTILE: HOSTILE, "judge": HOSTILE},
                responders={HOSTILE: {"kind": HOSTILE, "model": HOSTILE}},
                figures={HOSTILE: {"calibration": [{"predicted": 0.6, "won": 0.5, "n": 4}]}},
                tables=[(both(HOSTILE, HOSTILE), [column(HOSTILE, HOSTILE)], [[HOSTILE]], [both(HOSTILE, HOSTILE)])])
    text, parts = made(program, tmp_path, "--title", HOSTILE)
    assert [a.get("type") for tag, a in parts.tags if tag == "script"] == ["application/json", None] and len(parts.scripts) == 2
    assert "img" not in {tag for tag, _ in parts.tags} and not [k for _, a in parts.tags for k in a if k.startswith("on")]
    assert text.count("<!--") == 0 and "\u202e" not in text and "\u200b" not in text
    assert "⟨U+202E⟩abc⟨U+200B⟩" in "".join(parts.text)
    row = json.loads(parts.scripts[0])["rows"][0]
    assert row["a"][gather.shown(HOSTILE)][0]["t"] == gather.shown(HOSTILE) and "</script><!--" in row["m"][0][1]


def test_half_characters_and_control_characters_can_be_written(program, tmp_path):
    make_result(tmp_path, "geval", [{}])
    row = line("a", "안녕?", {"sft": [{"text": "반쪽 \ud83d 그리고 \x00 \x1b[31m"}]})
    (tmp_path / "eval" / "geval.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    _, parts = made(program, tmp_path)
    assert json.loads(parts.scripts[0])["rows"][0]["a"]["sft"][0]["t"] == "반쪽 ⟨U+D83D⟩ 그리고 ⟨U+0000⟩ ⟨U+001B⟩[31m"


def test_a_thousand_rows_stay_small(program, tmp_path):
    make_stages(tmp_path)
    for name in ("geval", "win_rate", "harmlessness", "diversity", "reward_accuracy"):
        make_result(tmp_path, name, judged_rows(1000))
    text, parts = made(program, tmp_path)
    data = json.loads(parts.scripts[0])
    assert len(data["rows"]) == 1000 and len(text.encode("utf-8")) < 3_000_000
    assert data["rows"][500]["a"]["ppo"][0]["s"] == [0, 1, 2, 3, 4]


# --- parts of a run

def test_a_run_without_results_says_what_is_missing(program, tmp_path, capsys):
    make_stages(tmp_path)
    _, parts = made(program, tmp_path)
    assert "results" not in [a.get("id") for _, a in parts.tags]
    missing = dict((name["en"], command) for name, command in checks.missing(gather.read_run(tmp_path)))
    assert missing["G-Eval"] == f"RUN={tmp_path} bash eval/run_geval.sh" and len(missing) == 6
    found = warned(tmp_path)
    assert found[0] == ((), "not evaluated: reward-model accuracy, G-Eval, win rate, harmlessness, diversity and regression, KoBEST. This page says nothing about "
                            "that; the commands are listed below")
    assert found[1][0] == ("ppo",) and "nothing else has judged them" in found[1][1] and len(found) == 2
    assert "3 models, 0 results, 2 warnings" in capsys.readouterr().out


def test_results_alone_make_a_page(program, tmp_path):
    make_result(tmp_path, "geval", judged_rows())
    _, parts = made(program, tmp_path)
    assert [a["id"] for tag, a in parts.tags if tag == "section"] == ["warnings", "summary", "results", "answers"]
    assert [name["en"] for name, _ in checks.missing(gather.read_run(tmp_path))][:3] == ["step 1 (supervised fine-tuning)",
                                                                                         "step 2 (reward model)", "step 3 (PPO)"]
    assert ((), "no model of step 2 (reward model) in this run") in warned(tmp_path)


def test_an_unfinished_stage_is_shown_and_warned_of(run):
    (run / "ppo" / "finished.json").unlink()
    with open(run / "ppo" / "metrics.jsonl", "a", encoding="utf-8") as out:
        out.write('{"step": 57, "sco')  # killed while writing
    found = warned(run)
    assert (("ppo",), "not finished: its last step is 56. Start the same command again to go on") in found
    assert [s.name for s in gather.read_run(run).stages] == ["sft", "reward", "ppo"]


def test_stages_are_told_by_what_they_hold(tmp_path):
    make_stages(tmp_path)
    shutil.copytree(tmp_path / "sft", tmp_path / "a_second")
    write(tmp_path / "a_second" / "settings.json", {"train_on_prompt": False, "model_name_or_path": str(tmp_path / "sft"), "processes": 1})
    (tmp_path / "reward" / "settings.json").unlink()  # finished.json alone
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "settings.json", {"model": "x"})  # of another program
    assert [(s.name, s.step) for s in gather.read_run(tmp_path).stages] == [("sft", 1), ("a_second", 1), ("reward", 2), ("ppo", 3)]


def test_a_stage_that_no_clock_measured_takes_the_time_from_its_log(tmp_path):
    make_stages(tmp_path)
    began = (tmp_path / "ppo" / "finished.json").stat().st_mtime
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began - 3725))
    (tmp_path / "ppo" / "training.log").write_text(f"== {stamp}  OMP_NUM_THREADS=2 python main.py\n", encoding="utf-8")
    ppo = gather.read_run(tmp_path).stages[-1]
    assert 3725 <= ppo.seconds < 3727 and dict((n["en"], v) for n,
                                               v in summary.facts(ppo, tmp_path))["took"]["en"] == "1 h 2 min (pauses included)"


@pytest.mark.parametrize("flags, message", [
    (["--run_dir", "nowhere"], "--run_dir nowhere: no such folder"),
    (["--run_dir", "run/sft"], "it is one trained model: give its parent"),
    (["--run_dir", "run", "--eval_dir", "run/evals"], "--eval_dir run/evals: no such folder"),
    (["--run_dir", "run", "--output", "run"], "--output run: cannot be written: is a folder"),
    (["--run_dir", "empty"], "no trained model in its folders and no result in empty/eval"),
])
def test_what_cannot_be_read_or_written_is_one_line(program, tmp_path, monkeypatch, flags, message):
    make_stages(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)):
        program.main(flags)
    assert not list(tmp_path.glob("**/*.part")) and not list(tmp_path.glob("**/*.html"))


@pytest.mark.parametrize("file, text, place", [
    ("sft/settings.json", '{\n "processes": 1,\n broken', "sft/settings.json:3: broken JSON"),
    ("sft/finished.json", "", "sft/finished.json:1: broken JSON"),
    ("sft/metrics.jsonl", '{"step": 1}\n{"step": 2,,}\n{"step": 3}\n', "sft/metrics.jsonl:2: broken JSON"),
    ("ppo/heldout_answers.jsonl", '{"prompt": "a"}\n{]\n', "ppo/heldout_answers.jsonl:2: broken JSON"),
    ("eval/geval.json", '{"program": "geval"', "eval/geval.json:1: broken JSON"),
    ("eval/geval.json", '{"program": "geval", "tables": [], "protocol": {}}', "eval/geval.json: a result of geval without figures"),
    ("eval/geval.jsonl", '{"id": 1}\nx\n', "eval/geval.jsonl:2: broken JSON"),
    ("stages.json", "[1, ", "stages.json:1: broken JSON"),
    ("sft/README.md", b"\xb0\xa1", "sft/README.md: not UTF-8 (byte 1)"),
])
def test_a_broken_file_is_named_with_its_line(run, file, text, place):
    (run / file).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    with pytest.raises(InputError, match=re.escape(place)):
        gather.read_run(run)


def test_a_result_of_another_form_is_named(run):
    found = json.loads((run / "eval" / "geval.json").read_text(encoding="utf-8"))
    found["tables"][0]["rows"][0].pop()
    write(run / "eval" / "geval.json", found)
    with pytest.raises(InputError, match=r"geval.json: not as a result of geval is written \(ValueError: .*; run the program again"):
        gather.read_run(run)
    write(run / "eval" / "geval.json", {"scores": [1, 2]})  # something else altogether
    assert [r.program for r in gather.read_run(run).results] == ["harmlessness"]


# --- the report's own warnings

def test_what_several_results_say_stands_once(run):
    found = warned(run)
    assert found[:2] == [(("geval", "harmlessness"), "few prompts"), (("geval",), "odd judge")]


def test_results_of_the_same_models_made_in_other_ways(run):
    assert not [text for _, text in warned(run) if "differs between results" in text]
    make_result(run, "win_rate", protocol={"decoding": "greedy", "seed": 7})
    found = [text for _, text in warned(run) if "differs between results" in text]
    assert found == ["the seed differs between results, so do not compare their figures: geval, harmlessness: 1234; win_rate: 7",
                     "the decoding differs between results, so do not compare their figures: geval, harmlessness: temperature 0.7; win_rate: greedy"]
    make_result(run, "win_rate", protocol={"decoding": "greedy", "seed": 7}, responders={"other": {"kind": "server", "model": "x"}})
    assert not [text for _, text in warned(run) if "differs between results" in text]


def test_one_name_for_two_models(run):
    make_result(run, "win_rate", responders={"ppo": {"kind": "checkpoint", "model": "output/ppo_second", "fingerprint": None}})
    assert [text for _, text in warned(run) if "not the same model" in text] == [
        "ppo is not the same model in all results (geval, harmlessness; win_rate differ): it was trained again or is another folder"]


def test_a_model_that_changed_after_it_was_measured(tmp_path):
    make_stages(tmp_path)
    ppo, sft = tmp_path / "ppo", tmp_path / "sft"
    make_result(tmp_path, "geval", inputs=[tmp_path / "reward"], responders={
        "ppo": {"kind": "checkpoint", "model": str(ppo), "fingerprint": local.fingerprint(ppo)},
        "sft": {"kind": "checkpoint", "model": str(sft)}})
    later = (tmp_path / "eval" / "geval.json").stat().st_mtime + 60
    assert not [text for _, text in warned(tmp_path) if "has changed" in text]
    os.utime(ppo / "model.safetensors", (later, later))  # copied: the same bytes
    assert not [text for _, text in warned(tmp_path) if "has changed" in text]
    (ppo / "model.safetensors").write_bytes(b"trained anew")
    os.utime(ppo / "model.safetensors", (later - 600, later - 600))  # even with an old date
    os.utime(sft / "model.safetensors", (later, later))
    os.utime(tmp_path / "reward" / "model.safetensors", (later, later))
    assert [(who, text) for who, text in warned(tmp_path) if "has changed" in text] == [
        (("geval",), f"{folder} has changed since this was measured: run it again") for folder in (ppo, sft, tmp_path / "reward")]
    assert (("reward",), "sft was trained again after reward was made from it") in warned(tmp_path)


def test_a_data_file_or_rows_that_changed(tmp_path):
    data = tmp_path / "prompts.jsonl"
    data.write_text("{}\n", encoding="utf-8")
    make_result(tmp_path, "geval", judged_rows(), inputs=[data])
    data.write_text("{} \n", encoding="utf-8")
    rows = tmp_path / "eval" / "geval.jsonl"
    rows.write_text("".join(rows.read_text(encoding="utf-8").splitlines(keepends=True)[:3]), encoding="utf-8")
    texts = [text for _, text in warned(tmp_path)]
    assert f"{data} has changed since this was measured: run it again" in texts
    assert "geval.jsonl has 3 lines, and had 4 when the figures were made" in texts
    rows.unlink()
    assert "geval.jsonl is not there: its answers are not shown" in [text for _, text in warned(tmp_path)]


def test_a_reward_model_that_a_trivial_rule_explains(run):
    assert not [text for _, text in warned(run) if "not clearly above" in text]
    finished = json.loads((run / "reward" / "finished.json").read_text(encoding="utf-8"))
    write(run / "reward" / "finished.json", {**finished, "trivial_rules": {"longer": 0.87}})
    assert [(who, text) for who, text in warned(run) if "not clearly above" in text] == [
        (("reward",), "its accuracy 0.892 (0.862–0.916, n 500) is not clearly above the rule “longer” (0.870): it may have learned no more than that")]


def test_other_versions_and_no_held_out_data(run):
    found = json.loads((run / "eval" / "geval.json").read_text(encoding="utf-8"))
    write(run / "eval" / "geval.json", {**found, "versions": {**found["versions"], "torch": "1.0"}})
    write(run / "sft" / "finished.json", {"heldout_before": None, "heldout_after": None, "steps": 3})
    texts = [text for _, text in warned(run)]
    assert "the results were made with different versions of torch (geval; harmlessness)" in texts
    assert "trained without held-out examples, so nothing was measured" in texts


# --- answers

def test_answers_of_several_programs_become_one_row(run):
    side = answers.merge(gather.read_run(run))
    assert side["models"] == ["sft", "ppo"] and side["sources"] == ["geval", "harmlessness", "ppo/heldout_answers"]
    assert [row["c"] for row in side["rows"]] == [c for c, _ in PROMPTS] and side["rows"][0]["m"] == [["user", PROMPTS[0][1]]]
    first = side["rows"][0]
    assert first["a"]["sft"] == [{"t": "짧은 답 0", "f": "stop", "k": 5, "s": [0, 1],
                                  "n": [[0, "score", 2.0], [1, "verdict · rules", "refuses"]]},
                                 {"t": "처음 답변 0", "s": [2], "n": [[2, "score", 1.0]]}]
    assert [a["t"] for a in first["a"]["ppo"]] == ["조금 더 긴 답변이에요 0", "다른 답 0", "나중 답변 0"]
    assert side["rows"][3]["a"]["ppo"][1] == {"t": None, "x": "timeout: no reply", "s": [1], "n": []}
    assert first["n"] == [[1, "kind", "everyday"]]
    assert side["verdicts"] == {"kind": ["everyday", "harmful", "lookalike"], "verdict · rules": ["corrects", "goes_along", "refuses"]}


def test_two_equal_samples_of_one_program_stay_two(tmp_path):
    make_result(tmp_path, "geval", [line("a", "안녕?", {"sft": [{"text": "네"}, {"text": "네"}, {"text": ""}]},
                                         kl={"sft": {"text": "네네", "k1": 2.5}, "all": [1]})])
    side = answers.merge(gather.read_run(tmp_path))
    assert side["rows"][0]["n"] == [[0, "kl · sft · k1", 2.5]]
    assert [a["t"] for a in side["rows"][0]["a"]["sft"]] == ["네", "네", ""] and side["rows"][0]["d"] is None and side["scores"] == []


def test_rows_are_sorted_by_the_difference_in_standard_deviations(tmp_path):
    rows = [line("a", "하나", {"sft": [{"text": "x", "score": 2.0}], "ppo": [{"text": "y", "score": 2.0}]}),
            line("a", "둘", {"sft": [{"text": "x", "score": 1.0}], "ppo": [{"text": "y", "score": 2.0}, {"text": "z", "score": 4.0}]}),
            line("a", "셋", {"sft": [{"text": "x", "repetition": 9.0}], "ppo": [{"text": "y", "repetition": 1.0}]})]
    make_result(tmp_path, "geval", rows)
    side = answers.merge(gather.read_run(tmp_path))
    # 2, 2, 1 and the mean of 2 and 4: standard deviation sqrt(.5)
    assert [row["d"] for row in side["rows"]] == [0.0, round(2 / 0.5 ** 0.5, 3), None] and side["scores"] == ["score"]


# --- drawings and tables

@pytest.mark.parametrize("low, high, about, expected", [(0, 10, 4, [0, 5, 10]), (1.3, 8.4, 4, [0, 2, 4, 6, 8, 10]),
                                                        (-0.25, 0.9, 4, [-0.5, 0, 0.5, 1.0]),
                                                        (3, 3, 4, [2.6, 2.8, 3.0, 3.2, 3.4]), (0, 0, 2, [-1, 0, 1]),
                                                        (0.0001, 0.0009, 4, [0, 0.0002, 0.0004, 0.0006, 0.0008, 0.001])])
def test_ticks_are_round_and_hold_the_values(low, high, about, expected):
    assert charts.ticks(low, high, about) == pytest.approx(expected)


@pytest.mark.parametrize("value, apart, expected", [(0.5, 0.25, "0.5"), (0.25, 0.05, "0.25"), (20, 10, "20"), (-1.5, 0.5, "−1.5"),
                                                    (12000, 2000, "12k"),
                                                    (3500000, 500000, "3.5M"), (0.0002, 0.0001, "0.0002"), (0, 0.0001, "0.0000")])
def test_labels_of_ticks(value, apart, expected):
    assert charts.label(value, apart) == expected


def test_long_lines_are_means_of_equal_runs():
    points = [(x, 10.0 * x) for x in range(1, 8)]
    assert charts.thinned(points, 3) == ([(2.0, 20.0), (5.0, 50.0), (7.0, 70.0)], 3)
    assert charts.thinned(points, 7) == (points, 1)


def test_a_line_chart_has_its_points_where_they_belong():
    chart = charts.lines([{"name": both("held-out", "평가용"), "points": [(0, 0.0), (50, 5.0), (100, 10.0), (100, float("nan"))],
                           "marked": True}])
    # the frame: x 50 to 388, y 200 (bottom) to 12 (top)
    assert chart["series"][0]["dots"] == [(50.0, 200.0), (219.0, 106.0),
                                          (388.0, 12.0)] and chart["series"][0]["path"] == "50,200 219,106 388,12"
    assert [t["label"] for t in chart["x"]] == ["0", "20", "40", "60", "80", "100"] and [t["label"] for t in chart["y"]] == ["0", "5", "10"]
    assert [(b["step"], b["values"][0][1]) for b in chart["bands"]] == [("0", "0"), ("50", "5"), ("100", "10")]
    assert charts.lines([{"name": both("a", "a"), "points": [], "marked": True}]) is None


def test_bands_are_few_and_tell_every_line():
    many = [(x, float(x)) for x in range(1, 1001)]
    chart = charts.lines([{"name": both("training", "학습"), "points": many, "marked": False},
                          {"name": both("held-out", "평가용"), "points": [(0, 7.0), (1000, 8.0)],
                                                                                            "marked": True}])
    assert chart["series"][0]["size"] == 5 and len(chart["series"][0]["path"].split()) == 200
    assert len(chart["bands"]) <= charts.BANDS and chart["bands"][0]["values"] == [(both("training", "학습"), "3"),
                                                                                   (both("held-out", "평가용"), "7")]


def test_curves_of_a_stage_pair_training_with_held_out():
    main, more = curves.of_stage([{"step": 0, "heldout_loss": 3.0},
                                  {"step": 1, "loss": 2.0, "lr": 0.1, "epoch": 0.5, "new_thing": 4, "text": "x"}])
    assert [p["title"]["en"] for p in main] == ["Loss"] and [s["name"]["en"] for s in main[0]["chart"]["series"]] == ["training",
                                                                                                                      "held-out"]
    assert [p["title"]["en"] for p in more] == ["Learning rate", "new_thing"]


def test_whiskers_share_a_scale_only_if_none_is_squeezed():
    wide, alike, small = estimate(0.5, 0.0, 1.0), estimate(0.5, 0.2, 0.9), estimate(0.1, 0.1, 0.15)
    one, two = charts.whiskers([[wide, None], [alike, alike]])
    # 8 at the low end, 112 at the high end
    assert one["cells"] == [{"low": 8.0, "mean": 60.0, "high": 112.0}, None] and two["cells"][0] == {"low": 28.8, "mean": 60.0,
                                                                                                     "high": 101.6}
    assert [(t["label"], t["at"], t["zero"]) for t in one["ticks"]] == [("0.0", 8.0, True), ("0.5", 60.0, False), ("1.0", 112.0, False)]
    assert charts.whiskers([[wide], [estimate(0.5, 0.25, 0.75)]])[1]["cells"] == [{"low": 8.0, "mean": 60.0,
                                                                                   "high": 112.0}]  # half as wide: its own scale
    assert charts.whiskers([[estimate(0.2, 0.2, 0.2 + 1e-13)]])[0]["cells"][0] == {"low": 8.0, "mean": 8.0, "high": 112.0}  # hardly apart
    assert charts.whiskers([[wide], [small], [None]])[1]["cells"] == [{"low": 8.0, "mean": 8.0,
                                                                       "high": 112.0}] and charts.whiskers([[None]]) == [None]


def test_cells_of_a_table():
    ready = grids.ready(table(both("T", "표"), [column("model", "모델"), column("n", "개수"), column("x", "값", 2), column("p", "p", 4)],
                              [["sft", 1200, estimate(-0.125, -0.5, 0.25), 0.00004], [both("all", "전체"), None, None, "<0.0001"]]))
    assert [c["right"] for c in ready["columns"]] == [False, True, True,
                                                      True] and ready["columns"][2]["plot"] and not ready["columns"][3]["plot"]
    assert [[cell["text"]["ko"] for cell in row] for row in ready["rows"]] == [["sft", "1,200", "−0.12", "<0.0001"],
                                                                               ["전체", "–", "–", "<0.0001"]]
    assert ready["rows"][0][2]["interval"] == "[−0.50, 0.25]" and ready["rows"][1][2]["dot"] is None


def test_calibration_is_found_wherever_it_stands():
    bins = [{"from": 0.5, "to": 0.75, "predicted": 0.6, "won": 0.5, "n": 25, "interval": [0.25, 0.75]},
            {"from": 0.75, "to": 1, "predicted": 1.0, "won": 1.0, "n": 100}]
    (one, chart), (two, _) = page.calibrations({"models": {"reward": {"calibration": {"bins": bins}}, "other": {"calibration": bins}},
                                                "n": 3})
    assert (one, two) == ("reward", "other") and chart["line"] == [50.0, 106.0, 388.0, 12.0]
    assert chart["dots"][0] == {"x": 117.6, "y": 106.0, "r": 5.5, "low": 153.0, "high": 59.0, "predicted": "0.600", "won": "0.500",
                                "n": "25"}
    assert page.calibrations({"calibration": []}) == [] and page.calibrations([1]) == []


# --- as a user runs it

def test_the_script_writes_the_page(run):
    result = subprocess.run(["bash", str(ROOT / "eval" / "run_report.sh"), str(run), str(run / "쪽.html"), "--title", "제목"],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"written: {run / '쪽.html'} (3 models, 2 results, {len(warned(run))} warnings)"
    assert "<h1>제목</h1>" in (run / "쪽.html").read_text(encoding="utf-8")
    (run / "eval" / "geval.json").write_text("{", encoding="utf-8")
    broken = subprocess.run(["bash", str(ROOT / "eval" / "run_report.sh"), str(run)], capture_output=True, text=True)
    assert broken.returncode == 2 and broken.stdout == "" and broken.stderr.startswith(f"error: {run}/eval/geval.json:1: broken JSON") and broken.stderr.count("\n") == 1

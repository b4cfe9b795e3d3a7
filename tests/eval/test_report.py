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
from report_run import judged_rows, line, make_result, make_stage, make_stages, verdict_rows, write

from korlhf.core.errors import InputError
from korlhf.core.tables import both, column
from korlhf.eval.report import checks, gather, summary
from korlhf.llm import checkpoint as local

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
    make_result(
        tmp_path,
        "geval",
        judged_rows(),
        warnings=[("few prompts", "프롬프트가 적습니다"), ("odd judge", "심판이 이상합니다")],
    )
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
    for wanted in (
        "첫 실험 <1>",
        "few prompts.",
        "프롬프트가 적습니다.",
        "4.500",
        "2.250",
        "0.892",
        "95 % interval 0.862–0.916",
        "best trivial rule 0.522 (polite ending)",
        "가장 나은 단순 규칙 0.522 (공손한 어미로 끝남)",
        "EOS rate 0.990 → 1.000",
        "sample/sft: 1,393 examples (split 10,0,0)",
        "kullm",
        "actor 2e-06, critic 9e-06 (cosine)",
        "rank actor 16",
        "1 min 17 s",
        "803 MiB",
        "87 steps, 1 epoch, 32 a step, at most 192 tokens",
        "−0.250",
        "[−0.500, 0.000]",
        "<0.0001",
        "Higher is better.",
        "로컬 심판",
        "모델 카드 sft",
        "python -u main.py --output_dir ppo",
    ):
        assert wanted in shown, wanted
    assert shown.index("few prompts.") < shown.index("4.500")
    links = [a["href"] for tag, a in parts.tags if tag == "a" and not a["href"].startswith("#")]
    assert links == ["sft/README.md", "reward/README.md", "ppo/README.md"]
    ids = [a["id"] for _, a in parts.tags if "id" in a]
    assert len(ids) == len(set(ids)) and {
        a["href"][1:] for tag, a in parts.tags if tag == "a" and a["href"].startswith("#")
    } <= set(ids)


def test_nothing_comes_from_outside(program, run):
    text, parts = made(program, run)
    assert not [
        a
        for tag, a in parts.tags
        for name in ("src", "href", "data", "action", "srcset")
        if re.match(r"(https?:)?//", a.get(name) or "")
    ]
    assert not {tag for tag, _ in parts.tags} & {"link", "img", "iframe", "object", "embed", "base", "audio", "video"}
    assert "@import" not in text and "url(" not in text
    policy = next(a["content"] for tag, a in parts.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(parts.scripts[-1].encode("utf-8")).digest()).decode()
    assert policy.startswith("default-src 'none';") and f"script-src 'sha256-{digest}'" in policy


HOSTILE = '"><img src=x onerror="hit()"></script><!--<script>hit()</script>\' \u202eabc\u200b'


def test_texts_of_the_data_stay_texts(program, tmp_path):
    name = "<img src=x onerror=hit()>\"'"
    make_stage(
        tmp_path / name,
        {
            "train_on_prompt": False,
            "model_name_or_path": HOSTILE,
            "data_path": [HOSTILE],
            "processes": 1,
            HOSTILE: HOSTILE,
        },
        {"heldout_before": None, "heldout_after": {"loss": 1.0, "n": 3, HOSTILE: HOSTILE}},
        [{"step": 1, "loss": 1.0, HOSTILE: 2.0}],
    )
    (tmp_path / name / "README.md").write_text(HOSTILE, encoding="utf-8")
    rows = [
        line(
            HOSTILE,
            HOSTILE,
            {HOSTILE: [{"text": HOSTILE, "verdict": HOSTILE, "score": 1.5}, {"text": None, "failed": HOSTILE}]},
            note=HOSTILE[:30],
        )
    ]
    make_result(
        tmp_path,
        "geval",
        rows,
        warnings=[(HOSTILE, HOSTILE)],
        protocol={HOSTILE: HOSTILE, "judge": HOSTILE},
        responders={HOSTILE: {"kind": HOSTILE, "model": HOSTILE}},
        figures={HOSTILE: {"calibration": [{"predicted": 0.6, "won": 0.5, "n": 4}]}},
        tables=[(both(HOSTILE, HOSTILE), [column(HOSTILE, HOSTILE)], [[HOSTILE]], [both(HOSTILE, HOSTILE)])],
    )
    text, parts = made(program, tmp_path, "--title", HOSTILE)
    assert [a.get("type") for tag, a in parts.tags if tag == "script"] == ["application/json", None] and len(
        parts.scripts
    ) == 2
    assert "img" not in {tag for tag, _ in parts.tags} and not [
        k for _, a in parts.tags for k in a if k.startswith("on")
    ]
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
    assert found[0] == (
        (),
        "not evaluated: reward-model accuracy, G-Eval, win rate, harmlessness, diversity and regression, KoBEST. This "
        "page says nothing about that; the commands are listed below",
    )
    assert found[1][0] == ("ppo",) and "nothing else has judged them" in found[1][1] and len(found) == 2
    assert "3 models, 0 results, 2 warnings" in capsys.readouterr().out


def test_results_alone_make_a_page(program, tmp_path):
    make_result(tmp_path, "geval", judged_rows())
    _, parts = made(program, tmp_path)
    assert [a["id"] for tag, a in parts.tags if tag == "section"] == ["warnings", "summary", "results", "answers"]
    assert [name["en"] for name, _ in checks.missing(gather.read_run(tmp_path))][:3] == [
        "step 1 (supervised fine-tuning)",
        "step 2 (reward model)",
        "step 3 (PPO)",
    ]
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
    write(
        tmp_path / "a_second" / "settings.json",
        {"train_on_prompt": False, "model_name_or_path": str(tmp_path / "sft"), "processes": 1},
    )
    (tmp_path / "reward" / "settings.json").unlink()  # finished.json alone
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "settings.json", {"model": "x"})  # of another program
    assert [(s.name, s.step) for s in gather.read_run(tmp_path).stages] == [
        ("sft", 1),
        ("a_second", 1),
        ("reward", 2),
        ("ppo", 3),
    ]


def test_a_stage_that_no_clock_measured_takes_the_time_from_its_log(tmp_path):
    make_stages(tmp_path)
    began = (tmp_path / "ppo" / "finished.json").stat().st_mtime
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began - 3725))
    (tmp_path / "ppo" / "training.log").write_text(f"== {stamp}  OMP_NUM_THREADS=2 python main.py\n", encoding="utf-8")
    ppo = gather.read_run(tmp_path).stages[-1]
    took = {name["en"]: value for name, value in summary.facts(ppo, tmp_path)}["took"]
    assert 3725 <= ppo.seconds < 3727 and took["en"] == "1 h 2 min (pauses included)"


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--run_dir", "nowhere"], "--run_dir nowhere: no such folder"),
        (["--run_dir", "run/sft"], "it is one trained model: give its parent"),
        (["--run_dir", "run", "--eval_dir", "run/evals"], "--eval_dir run/evals: no such folder"),
        (["--run_dir", "run", "--output", "run"], "--output run: cannot be written: is a folder"),
        (["--run_dir", "empty"], "no trained model in its folders and no result in empty/eval"),
    ],
)
def test_what_cannot_be_read_or_written_is_one_line(program, tmp_path, monkeypatch, flags, message):
    make_stages(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)):
        program.main(flags)
    assert not list(tmp_path.glob("**/*.part")) and not list(tmp_path.glob("**/*.html"))


@pytest.mark.parametrize(
    "file, text, place",
    [
        ("sft/settings.json", '{\n "processes": 1,\n broken', "sft/settings.json:3: broken JSON"),
        ("sft/finished.json", "", "sft/finished.json:1: broken JSON"),
        ("sft/metrics.jsonl", '{"step": 1}\n{"step": 2,,}\n{"step": 3}\n', "sft/metrics.jsonl:2: broken JSON"),
        (
            "sft/metrics.jsonl",
            '{"step": 1}\n{"step": 2, "lo',
            "sft/metrics.jsonl:2: broken JSON",
        ),  # of a finished stage
        ("ppo/heldout_answers.jsonl", '{"prompt": "a"}\n{]\n', "ppo/heldout_answers.jsonl:2: broken JSON"),
        ("eval/geval.json", '{"program": "geval"', "eval/geval.json:1: broken JSON"),
        (
            "eval/geval.json",
            '{"program": "geval", "tables": [], "protocol": {}}',
            "eval/geval.json: a result of geval without figures",
        ),
        ("eval/geval.jsonl", '{"id": 1}\nx\n', "eval/geval.jsonl:2: broken JSON"),
        ("stages.json", "[1, ", "stages.json:1: broken JSON"),
        ("sft/README.md", b"\xb0\xa1", "sft/README.md: not UTF-8 (byte 1)"),
    ],
)
def test_a_broken_file_is_named_with_its_line(run, file, text, place):
    (run / file).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    with pytest.raises(InputError, match=re.escape(place)):
        gather.read_run(run)


def test_a_result_of_another_form_is_named(run):
    found = json.loads((run / "eval" / "geval.json").read_text(encoding="utf-8"))
    found["tables"][0]["rows"][0].pop()
    write(run / "eval" / "geval.json", found)
    with pytest.raises(
        InputError, match=r"geval.json: not as a result of geval is written \(ValueError: .*; run the program again"
    ):
        gather.read_run(run)
    write(run / "eval" / "geval.json", {"scores": [1, 2]})  # something else altogether
    assert [r.program for r in gather.read_run(run).results] == ["harmlessness"]


def test_a_steered_kl_is_told(program, run):
    path = run / "ppo" / "settings.json"
    fixed, _ = made(program, run)
    assert "KL coefficient 0.02, clip 0.2" in fixed and "steered to" not in fixed
    write(path, {**json.loads(path.read_text(encoding="utf-8")), "kl_target": 10.0})
    text, _ = made(program, run)
    assert "KL coefficient 0.02 at first, steered to a KL of 10 nats per answer, clip 0.2" in text
    assert "KL 계수 0.02에서 시작해 KL을 답변당 10 nat에 맞춤, 클립 0.2" in text


# --- the report's own warnings


def test_what_several_results_say_stands_once(run):
    found = warned(run)
    assert found[:2] == [(("geval", "harmlessness"), "few prompts"), (("geval",), "odd judge")]


def test_results_of_the_same_models_made_in_other_ways(run):
    assert not [text for _, text in warned(run) if "differs between results" in text]
    make_result(run, "win_rate", protocol={"decoding": "greedy", "seed": 7})
    found = [text for _, text in warned(run) if "differs between results" in text]
    assert found == [
        "the seed differs between results, so do not compare their figures: geval, harmlessness: 1234; win_rate: 7",
        "the decoding differs between results, so do not compare their figures: geval, harmlessness: temperature 0.7; "
        "win_rate: greedy",
    ]
    make_result(
        run,
        "win_rate",
        protocol={"decoding": "greedy", "seed": 7},
        responders={"other": {"kind": "server", "model": "x"}},
    )
    assert not [text for _, text in warned(run) if "differs between results" in text]
    for program, of_ppo in (
        ("win_rate", "[Q] {prompt}"),
        ("geval", "### {prompt}"),
    ):  # each has its own; ppo's is not the same in both
        make_result(
            run,
            program,
            protocol={"seed": 1234},
            responders={
                name: {"kind": "checkpoint", "model": str(run / name), "template": template}
                for name, template in (("sft", "Q"), ("ppo", of_ppo))
            },
        )
    found = [text for _, text in warned(run) if "differs between results" in text]
    assert found == [
        "the template differs between results, so do not compare their figures: geval: ### {prompt}; win_rate: [Q] {prompt}"
    ]


def test_answers_of_a_server_from_the_cache_are_told(program, run):
    path = run / "eval" / "geval.json"
    write(
        path,
        {
            **json.loads(path.read_text(encoding="utf-8")),
            "from_cache": {"en": "12 answers of servers", "ko": "서버의 답변 12개"},
        },
    )
    text, _ = made(program, run)
    assert "12 answers of servers" in text and "서버의 답변 12개" in text


def test_one_name_for_two_models(run):
    make_result(
        run, "win_rate", responders={"ppo": {"kind": "checkpoint", "model": "output/ppo_second", "fingerprint": None}}
    )
    assert [text for _, text in warned(run) if "not the same model" in text] == [
        "ppo is not the same model in all results (geval, harmlessness; win_rate differ): it was trained again or is another folder"
    ]


def test_a_model_that_changed_after_it_was_measured(tmp_path):
    make_stages(tmp_path)
    ppo, sft = tmp_path / "ppo", tmp_path / "sft"
    make_result(
        tmp_path,
        "geval",
        inputs=[tmp_path / "reward"],
        responders={
            "ppo": {"kind": "checkpoint", "model": str(ppo), "fingerprint": local.fingerprint(ppo)},
            "sft": {"kind": "checkpoint", "model": str(sft)},
        },
    )
    later = (tmp_path / "eval" / "geval.json").stat().st_mtime + 60
    assert not [text for _, text in warned(tmp_path) if "has changed" in text or "trained again" in text]
    os.utime(ppo / "model.safetensors", (later, later))  # copied: the same bytes
    assert not [text for _, text in warned(tmp_path) if "has changed" in text]
    (ppo / "model.safetensors").write_bytes(b"trained anew")
    os.utime(ppo / "model.safetensors", (later - 600, later - 600))  # even with an old date
    os.utime(sft / "model.safetensors", (later, later))
    os.utime(tmp_path / "reward" / "model.safetensors", (later, later))
    assert [(who, text) for who, text in warned(tmp_path) if "has changed" in text] == [
        (("geval",), f"{folder} has changed since this was measured: run it again")
        for folder in (ppo, sft, tmp_path / "reward")
    ]
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
        (
            ("reward",),
            "its accuracy 0.892 (0.862–0.916, n 500) is not clearly above the rule “longer” (0.870): it may have "
            "learned no more than that",
        )
    ]


def test_other_versions_and_no_held_out_data(run):
    found = json.loads((run / "eval" / "geval.json").read_text(encoding="utf-8"))
    write(run / "eval" / "geval.json", {**found, "versions": {**found["versions"], "torch": "1.0"}})
    write(run / "sft" / "finished.json", {"heldout_before": None, "heldout_after": None, "steps": 3})
    texts = [text for _, text in warned(run)]
    assert "the results were made with different versions of torch (geval; harmlessness)" in texts
    assert "trained without held-out examples, so nothing was measured" in texts


# --- as a user runs it


def test_the_script_writes_the_page(run):
    result = subprocess.run(
        ["bash", str(ROOT / "eval" / "run_report.sh"), str(run), str(run / "쪽.html"), "--title", "제목"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert (
        result.stdout.splitlines()[-1]
        == f"written: {run / '쪽.html'} (3 models, 2 results, {len(warned(run))} warnings)"
    )
    assert "<h1>제목</h1>" in (run / "쪽.html").read_text(encoding="utf-8")
    (run / "eval" / "geval.json").write_text("{", encoding="utf-8")
    broken = subprocess.run(["bash", str(ROOT / "eval" / "run_report.sh"), str(run)], capture_output=True, text=True)
    assert broken.returncode == 2 and broken.stdout == "" and broken.stderr.count("\n") == 1
    assert broken.stderr.startswith(f"error: {run}/eval/geval.json:1: broken JSON")

"""eval/report.py: what it reads, what it warns of, and that the page takes nothing from the data as HTML."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_run import change, judged_rows, line, make_result, make_stage, make_stages, verdict_rows, write

import eval.report as program
from korlhf.core.errors import InputError
from korlhf.core.tables import both, column
from korlhf.eval.report import checks, gather, summary
from korlhf.eval.report.words import group
from korlhf.llm import checkpoint
from korlhf.training.watch import SIGNS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    """A folder with three stages and two results."""
    make_stages(tmp_path)
    few, odd = ("few prompts", "프롬프트가 적습니다"), ("odd judge", "심판이 이상합니다")
    make_result(tmp_path, "geval", judged_rows(), warnings=[few, odd])
    make_result(tmp_path, "harmlessness", verdict_rows(), warnings=[few])
    return tmp_path


class Parts(HTMLParser):
    """Tags with their attributes, the text outside of scripts, and that of scripts."""

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

    def values(self, name):
        return [a[name] for _, a in self.tags if name in a]


def made(run, *flags):
    """(text, Parts) of the page of a run."""
    program.main(["--run_dir", str(run), *flags])
    text = (run / "report.html").read_text(encoding="utf-8")
    return text, Parts(text)


def warned(run, about=""):
    """[(names, English text)] of the warnings that have `about` in their text."""
    found = [(tuple(one.name for one in w.about), w.text["en"]) for w in checks.warnings(gather.read_run(run))]
    return [one for one in found if about in one[1]]


# --- the page as a whole


SHOWN = """첫 실험 <1> | few prompts. | 프롬프트가 적습니다. | 4.500 | 2.250 | 0.892 | 95 % interval 0.862–0.916
best baseline 0.522 (polite ending) | 가장 나은 기준선 0.522 (공손한 어미로 끝남) | EOS rate 0.990 → 1.000
sample/sft: 1,393 examples (split 10,0,0) | kullm | actor 2e-06, critic 9e-06 (cosine) | rank actor 16 | 1 min 17 s
803 MiB | 87 steps, 1 epoch, 32 per step, at most 192 tokens | 87스텝, 1에폭, 스텝당 32개, 최대 192토큰
KL coefficient 0.02, clip 0.2, gamma 1.0, lambda 0.95, 1 epoch per batch | −0.250 | [−0.500, 0.000] | <0.0001
Higher is better. | 로컬 심판 | 모델 카드 sft | python -u main.py --output_dir ppo | 12 answers of servers"""


def test_the_page_holds_everything_in_its_order(run):
    change(run / "eval" / "geval.json", from_cache=both("12 answers of servers", "서버의 답변 12개"))
    _, parts = made(run, "--title", "첫 실험 <1>")
    sections = [a["id"] for tag, a in parts.tags if tag == "section"]
    assert sections == ["first", "warnings", "summary", "stages", "curves", "results", "answers", "cards"]
    shown = " ".join(" ".join(parts.text).split())
    assert [text for text in re.split(r" \| |\n", SHOWN) if text not in shown] == []
    assert shown.index("few prompts.") < shown.index("4.500")
    links = parts.values("href")
    assert [link for link in links if link[0] != "#"] == ["sft/README.md", "reward/README.md", "ppo/README.md"]
    ids = parts.values("id")
    assert len(ids) == len(set(ids)) and {link[1:] for link in links if link[0] == "#"} <= set(ids)


def test_nothing_comes_from_outside(run):
    text, parts = made(run)
    sources = [url for name in ("src", "href", "data", "action", "srcset") for url in parts.values(name)]
    assert not [url for url in sources if re.match(r"(https?:)?//", url)]
    assert not {tag for tag, _ in parts.tags} & {"link", "img", "iframe", "object", "embed", "base", "audio", "video"}
    assert "@import" not in text and "url(" not in text
    policy = next(a["content"] for _, a in parts.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(parts.scripts[-1].encode("utf-8")).digest()).decode()
    assert policy.startswith("default-src 'none';") and f"script-src 'sha256-{digest}'" in policy


HOSTILE = '"><img src=x onerror="hit()"></script><!--<script>hit()</script>\' \u202eabc\u200b'


def test_texts_of_the_data_stay_texts(tmp_path):
    folder = tmp_path / "<img src=x onerror=hit()>\"'"
    settings = {"train_on_prompt": False, "model_name_or_path": HOSTILE, "data_path": [HOSTILE], "processes": 1}
    after = {"loss": 1.0, "n": 3, HOSTILE: HOSTILE}
    make_stage(folder, {**settings, HOSTILE: HOSTILE}, {"heldout_after": after}, [{"step": 1, "loss": 1.0, HOSTILE: 2}])
    (folder / "README.md").write_text(HOSTILE, encoding="utf-8")
    answers = [{"text": HOSTILE, "verdict": HOSTILE, "score": 1.5}, {"text": None, "failed": HOSTILE}]
    make_result(
        tmp_path,
        "geval",
        [line(HOSTILE, HOSTILE, {HOSTILE: answers}, note=HOSTILE[:30])],
        warnings=[(HOSTILE, HOSTILE)],
        protocol={HOSTILE: HOSTILE, "judge": HOSTILE},
        responders={HOSTILE: {"kind": HOSTILE, "model": HOSTILE}},
        figures={HOSTILE: {"calibration": [{"predicted": 0.6, "won": 0.5, "n": 4}]}},
        tables=[(both(HOSTILE, HOSTILE), [column(HOSTILE, HOSTILE)], [[HOSTILE]], [both(HOSTILE, HOSTILE)])],
    )
    text, parts = made(tmp_path, "--title", HOSTILE)
    assert [a.get("type") for tag, a in parts.tags if tag == "script"] == ["application/json", None]
    assert len(parts.scripts) == 2 and "img" not in {tag for tag, _ in parts.tags}
    assert not [name for _, a in parts.tags for name in a if name.startswith("on")]
    assert text.count("<!--") == 0 and "\u202e" not in text and "\u200b" not in text
    assert "⟨U+202E⟩abc⟨U+200B⟩" in "".join(parts.text)
    row = json.loads(parts.scripts[0])["rows"][0]
    assert row["a"][gather.shown(HOSTILE)][0]["t"] == gather.shown(HOSTILE) and "</script><!--" in row["m"][0][1]


def test_half_characters_and_control_characters_can_be_written(tmp_path):
    make_result(tmp_path, "geval", [{}])
    row = line("a", "안녕?", {"sft": [{"text": "반쪽 \ud83d 그리고 \x00 \x1b[31m"}]})
    (tmp_path / "eval" / "geval.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    _, parts = made(tmp_path)
    assert json.loads(parts.scripts[0])["rows"][0]["a"]["sft"][0]["t"] == "반쪽 ⟨U+D83D⟩ 그리고 ⟨U+0000⟩ ⟨U+001B⟩[31m"


def test_a_thousand_rows_stay_small(tmp_path):
    for name in ("geval", "win_rate", "harmlessness", "diversity", "reward_accuracy"):
        make_result(tmp_path, name, judged_rows(1000))
    text, parts = made(tmp_path)
    data = json.loads(parts.scripts[0])
    assert len(data["rows"]) == 1000 and len(text.encode("utf-8")) < 3_000_000
    assert data["rows"][500]["a"]["ppo"][0]["s"] == [0, 1, 2, 3, 4]


# --- parts of a run


def test_a_run_without_results_says_what_is_missing(tmp_path, capsys):
    make_stages(tmp_path)
    _, parts = made(tmp_path)
    assert "results" not in parts.values("id")
    missing = {name["en"]: command for name, command in checks.missing(gather.read_run(tmp_path))}
    assert missing["G-Eval"] == f"RUN={tmp_path} bash eval/run_geval.sh" and len(missing) == 7
    absent = (
        "reward-model accuracy, G-Eval, win rate, harmlessness, chat benchmark, diversity and regression, KoBEST and"
    )
    (who, text), (whose, unjudged) = warned(tmp_path)
    assert who == () and text.startswith(f"not evaluated: {absent} other tasks. This page says nothing about that")
    assert whose == ("ppo",) and "nothing else has judged them" in unjudged
    assert "3 models, 0 results, 2 warnings" in capsys.readouterr().out


def test_results_alone_make_a_page_that_names_the_missing_trainings(tmp_path):
    make_result(tmp_path, "geval", judged_rows())
    _, parts = made(tmp_path)
    assert [a["id"] for tag, a in parts.tags if tag == "section"] == [
        "first",
        "warnings",
        "summary",
        "results",
        "answers",
    ]
    assert warned(tmp_path, "no model of step 2 (reward model) in this run")

    def commands():
        return {command.replace(str(tmp_path), "RUN") for _, command in checks.missing(gather.read_run(tmp_path))[:3]}

    script = "training/step3_rlhf_finetuning/training_scripts/polyglot_ko/run_1.3b.sh"
    assert f"bash {script} RUN/sft RUN/reward 2 2 RUN/ppo" in commands() and len(commands()) == 3
    (tmp_path / "base_init").mkdir()  # the tiny models': one command makes them all
    assert commands() == {"bash quickstart.sh --output_dir RUN"}
    (tmp_path / "data").mkdir()  # of data_prep
    assert commands() == {"bash applications/rlhf/run_all.sh --output_dir RUN"}


def test_an_unfinished_stage_is_shown_and_warned_of(run):
    (run / "ppo" / "finished.json").unlink()
    with open(run / "ppo" / "metrics.jsonl", "a", encoding="utf-8") as out:
        out.write('{"step": 57, "sco')  # killed while writing
    assert [who for who, _ in warned(run, "not finished: its last step is 56.")] == [("ppo",)]
    assert [s.name for s in gather.read_run(run).stages] == ["sft", "reward", "ppo"]


def test_stages_are_told_by_what_they_hold(tmp_path):
    make_stages(tmp_path)
    shutil.copytree(tmp_path / "sft", tmp_path / "a_second")
    change(tmp_path / "a_second" / "settings.json", model_name_or_path=str(tmp_path / "sft"))
    (tmp_path / "reward" / "settings.json").unlink()  # finished.json alone
    write(tmp_path / "other" / "settings.json", {"model": "x"})  # of another program
    stages = [(s.name, s.step) for s in gather.read_run(tmp_path).stages]
    assert stages == [("sft", 1), ("a_second", 1), ("reward", 2), ("ppo", 3)]


def test_a_stage_that_the_runner_did_not_clock_takes_the_time_from_its_log(tmp_path):
    make_stages(tmp_path)
    began = (tmp_path / "ppo" / "finished.json").stat().st_mtime - 3725
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began))
    (tmp_path / "ppo" / "training.log").write_text(f"== {stamp}  OMP_NUM_THREADS=2 python main.py\n", encoding="utf-8")
    ppo = gather.read_run(tmp_path).stages[-1]
    facts = {name["en"]: value for name, value in summary.facts(ppo, tmp_path)}
    assert 3725 <= ppo.seconds < 3727 and facts["took"]["en"] == "1 h 2 min (pauses included)"


def test_a_controlled_kl_is_told(run):
    change(run / "ppo" / "settings.json", kl_target=10.0)
    text, _ = made(run)
    assert "KL coefficient 0.02 at first, controlled towards a KL of 10 nats per answer, clip 0.2" in text
    assert "KL 계수 0.02에서 시작해 KL이 답변당 10 nat에 가까워지도록 조절, 클립 0.2" in text


def test_the_page_names_the_algorithm(run):
    change(run / "ppo" / "settings.json", advantage_estimator="rloo")
    text, _ = made(run)
    assert "RLOO, from sft" in text and "PPO, from" not in text
    assert {name["en"] for name, _ in summary.facts(gather.read_run(run).stages[-1], run)} >= {"RLOO", "reward model"}


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
def test_what_cannot_be_read_or_written_is_one_line(tmp_path, monkeypatch, flags, message):
    make_stages(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)):
        program.main(flags)
    assert not list(tmp_path.glob("**/*.part")) and not list(tmp_path.glob("**/*.html"))


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("sft/settings.json", '{\n "processes": 1,\n broken', "sft/settings.json:3: broken JSON"),
        ("sft/finished.json", "", "sft/finished.json:1: broken JSON"),
        ("sft/finished.json", '{"steps": 1%s}' % ("0" * 5000), "sft/finished.json:1: JSON that cannot be read"),
        ("sft/metrics.jsonl", '{"step": 1}\n{"step": 2,,}\n{"step": 3}\n', "sft/metrics.jsonl:2: broken JSON"),
        ("sft/metrics.jsonl", '{"step": 1}\n{"step": 2, "lo', "sft/metrics.jsonl:2: broken JSON"),  # it is finished
        ("ppo/heldout_answers.jsonl", '{"prompt": "a"}\n{]\n', "ppo/heldout_answers.jsonl:2: broken JSON"),
        ("eval/geval.json", '{"program": "geval"', "eval/geval.json:1: broken JSON"),
        ("eval/geval.json", '{"program": "geval", "tables": [], "protocol": {}}', "a result of geval without figures"),
        ("eval/geval.jsonl", '{"id": 1}\nx\n', "eval/geval.jsonl:2: broken JSON"),
        ("stages.json", "[1, ", "stages.json:1: broken JSON"),
        ("sft/README.md", b"\xb0\xa1", "sft/README.md: not UTF-8 (byte 1)"),
    ],
)
def test_a_broken_file_is_named_with_its_line(run, file, text, message):
    (run / file).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    with pytest.raises(InputError, match=re.escape(message)):
        gather.read_run(run)


def test_a_result_of_another_form_is_named(run):
    path = run / "eval" / "geval.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["tables"][0]["rows"][0].pop()
    write(path, content)
    with pytest.raises(InputError, match=r"geval.json: not as a result of geval is written \(ValueError: .*; run the"):
        gather.read_run(run)
    write(path, {"scores": [1, 2]})  # something else altogether
    assert [r.program for r in gather.read_run(run).results] == ["harmlessness"]


# --- the report's own warnings


def test_what_several_results_say_stands_once(run):
    assert warned(run)[:2] == [(("geval", "harmlessness"), "few prompts"), (("geval",), "odd judge")]


def test_results_of_the_same_models_made_in_other_ways(run):
    def differing():
        return [text.partition(", so do not compare their figures: ") for _, text in warned(run, "differs between")]

    assert differing() == []
    make_result(run, "win_rate", protocol={"decoding": "greedy", "seed": 7})
    assert [(what, ways) for what, _, ways in differing()] == [
        ("the seed differs between results", "geval, harmlessness: 1234; win_rate: 7"),
        ("the decoding differs between results", "geval, harmlessness: temperature 0.7; win_rate: greedy"),
    ]
    other = {"other": {"kind": "server", "model": "x"}}
    make_result(run, "win_rate", protocol={"decoding": "greedy", "seed": 7}, responders=other)
    assert differing() == []
    for name, of_ppo in (("win_rate", "[Q] {prompt}"), ("geval", "### {prompt}")):  # sft's is the same in both
        templates = {"sft": "Q", "ppo": of_ppo}
        models = {m: {"kind": "checkpoint", "model": str(run / m), "template": t} for m, t in templates.items()}
        make_result(run, name, responders=models)
    assert [ways for *_, ways in differing()] == ["geval: ### {prompt}; win_rate: [Q] {prompt}"]


def test_one_name_for_two_models(run):
    another = {"kind": "checkpoint", "model": "output/ppo_second", "fingerprint": None}
    make_result(run, "win_rate", responders={"ppo": another})
    ((_, text),) = warned(run, "not the same model")
    assert text.startswith("ppo is not the same model in all results (geval, harmlessness; win_rate differ)")


def test_a_model_that_changed_after_it_was_measured(tmp_path):
    make_stages(tmp_path)
    sft, reward, ppo = (tmp_path / name for name in ("sft", "reward", "ppo"))
    models = {"ppo": {"model": str(ppo), "fingerprint": checkpoint.fingerprint(ppo)}, "sft": {"model": str(sft)}}
    make_result(tmp_path, "geval", inputs=[reward], responders=models)
    later = (tmp_path / "eval" / "geval.json").stat().st_mtime + 60
    assert not warned(tmp_path, "has changed") and not warned(tmp_path, "trained again")
    os.utime(ppo / "model.safetensors", (later, later))  # copied: the same bytes
    assert not warned(tmp_path, "has changed")
    (ppo / "model.safetensors").write_bytes(b"trained again")
    os.utime(ppo / "model.safetensors", (later - 600, later - 600))  # even with an old date
    for folder in (sft, reward):
        os.utime(folder / "model.safetensors", (later, later))
    changed = [(who, text.split(" has changed")[0]) for who, text in warned(tmp_path, "has changed")]
    assert changed == [(("geval",), str(folder)) for folder in (ppo, sft, reward)]
    assert (("reward",), "sft was trained again after reward was made from it") in warned(tmp_path)


def test_a_data_file_or_rows_that_changed(tmp_path):
    data, rows = tmp_path / "prompts.jsonl", tmp_path / "eval" / "geval.jsonl"
    data.write_text("{}\n", encoding="utf-8")
    make_result(tmp_path, "geval", judged_rows(), inputs=[data])
    data.write_text("{} \n", encoding="utf-8")
    rows.write_text("".join(rows.read_text(encoding="utf-8").splitlines(keepends=True)[:3]), encoding="utf-8")
    assert warned(tmp_path, f"{data} has changed since this was measured")
    assert warned(tmp_path, "geval.jsonl has 3 lines, but had 4 when the figures were made")
    rows.unlink()
    assert warned(tmp_path, "geval.jsonl is not there: its answers are not shown")


def test_a_reward_model_that_a_trivial_rule_explains(run):
    assert not warned(run, "not clearly above")
    change(run / "reward" / "finished.json", trivial_rules={"longer": 0.87})
    ((who, text),) = warned(run, "not clearly above")
    assert who == ("reward",) and "0.892 (0.862–0.916, n 500)" in text and "baseline “longer” (0.870)" in text


def test_what_went_wrong_in_a_training_is_told(run):
    rows = [{"step": k, "loss": 1.0} for k in range(1, 5)]
    rows[1]["warnings"] = ["non_finite_heldout_loss", "kl_explosion"]
    rows[3]["warnings"] = ["kl_explosion", "of_later"]
    write(run / "ppo" / "metrics.jsonl", rows)
    about = [w for w in checks.warnings(gather.read_run(run)) if [a.name for a in w.about] == ["ppo"]]
    en, ko = ([w.text[language] for w in about] for language in ("en", "ko"))
    assert "a value that is not finite (NaN or infinity): Loss (step 2)" in en
    assert "the KL exploded: the model moved far away from its reference (2 times, first at step 2)" in en
    assert "of_later (step 4)" in en
    assert "NaN이나 무한대가 된 값이 있습니다: 손실(2스텝)" in ko
    _, page = made(run)
    assert any("기준 모델에서 크게 벗어났습니다(2번, 처음은 2스텝)" in text for text in page.text)


def test_the_report_has_a_text_for_every_sign_of_the_trainings():
    assert group("signs")["en"].keys() == {"non_finite", *SIGNS}


def test_other_versions_and_no_held_out_data(run):
    change(run / "eval" / "geval.json", versions={"torch": "1.0"})
    change(run / "eval" / "harmlessness.json", versions={"torch": "2.0"})
    write(run / "sft" / "finished.json", {"heldout_before": None, "heldout_after": None, "steps": 3})
    assert warned(run, "made with different versions of torch (geval; harmlessness)")
    assert warned(run, "trained without held-out examples, so nothing was measured")


# --- as a user runs it


def test_the_script_writes_the_page(run):
    command = ["bash", str(ROOT / "eval" / "run_report.sh"), str(run), str(run / "쪽.html"), "--title", "제목"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    written = f"written: {run / '쪽.html'} (3 models, 2 results, {len(warned(run))} warnings)"
    assert result.stdout.splitlines()[-1] == written
    assert "<h1>제목</h1>" in (run / "쪽.html").read_text(encoding="utf-8")

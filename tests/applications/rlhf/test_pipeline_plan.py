"""What the plan says: estimates against arithmetic by hand, and what is looked for before anything starts."""

import json
import shutil
import socket
import struct
from dataclasses import replace

import pytest
from fake_project import Project, project  # noqa: F401 (fixture)
from free_port import free_port

from korlhf.pipeline import estimates, needs, state
from korlhf.pipeline import plan as plans
from korlhf.pipeline.estimates import Shape
from korlhf.pipeline.stages import Need


def text_of(project, **choice):
    pipeline = project.pipeline()
    return plans.text(pipeline.plan(state.Choice(**choice)), pipeline.prints, pipeline.title())


def test_the_plan_of_a_new_run(project):
    lines = text_of(project).split("\n")
    assert lines[0] == f"fake in {project.run_folder}"
    assert lines[3].split() == ["stage", "reads", "writes", "state", "time", "disk"]
    assert [line.split() for line in lines[4:8]] == [
        ["1", "data", "corpus.txt", "data.txt", "never", "run", "not", "known", "not", "known"],
        ["2", "train", "data", "train", "never", "run", "not", "known", "not", "known"],
        ["3", "count", "data", "count.txt", "never", "run", "not", "known", "not", "known"],
        ["4", "page", "train,", "count", "page.html", "never", "run", "not", "known", "not", "known"],
    ]
    assert "to run: 4 of 4 stages, time not known" in lines
    assert not project.run_folder.exists()  # a plan alone leaves nothing


def test_what_will_be_thrown_away_is_told(project):
    project.run()
    project.given["train"] = {"EPOCHS": "4"}
    assert "thrown away and trained anew: train\n" in text_of(project)
    project.given["train"] = {}
    project.corpus.write_text("new\n", encoding="utf-8")
    assert "\nthrown away and trained anew if what they read has changed then: train\n" in text_of(project)


def note_time(project, name, seconds):
    path = project.run_folder / "pipeline.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    found["stages"][name]["measured"] = seconds
    path.write_text(json.dumps(found), encoding="utf-8")


def test_times_are_those_of_an_earlier_run_of_the_same_kind(project):
    project.run()
    note_time(project, "train", 3725)
    note_time(project, "count", 61)
    told = text_of(project, first="train", last="count")
    assert (
        "1 h 02 min" in told
        and "1 min 01 s" in told
        and "to run: 2 of 4 stages, about 1 h 03 min left (as last time)" in told
    )
    project.run_folder = project.run_folder.with_name("second")
    assert "about 1 h 03 min left (as in 실행 folder)" in text_of(project)


def test_times_say_that_they_are_of_other_settings_or_of_a_part(project):
    project.run()
    note_time(project, "train", 61)
    note_time(project, "page", None)
    project.given["train"] = {"EPOCHS": "400"}
    told = "more than 1 min 01 s left: the time of 1 stage is not known (as last time, with other settings)"
    assert told in text_of(project)
    project.given["train"], project.given["count"], project.environ["FAIL"] = {}, {"UNIT": "-m"}, "7"
    note_time(project, "count", 61)
    assert told in text_of(project)
    assert project.run() == (7, ["count"])
    assert told in text_of(project)  # also when the run with the new settings was stopped


def test_a_long_reason_is_told_in_full_below_the_table(project, monkeypatch):
    monkeypatch.setattr(plans, "LONGEST", 20)
    project.run()
    project.given["count"] = {"UNIT": "-m"}
    told = text_of(project)
    assert "  changed: UNIT (de...  " in told and "\ncount: changed: UNIT (default) -> -m\n" in told


def test_the_shape_of_the_models_gives_their_sizes():
    """The first two are the numbers of parameters on the cards of EleutherAI/polyglot-ko-1.3b and -5.8b."""
    assert [Shape(2048, 24).params, Shape(4096, 28).params, Shape(5120, 40).params] == [
        1_331_810_304,
        5_885_059_072,
        12_893_603_840,
    ]
    assert Shape(2048, 24).lora(8) == 24 * 8 * (2048 + 3 * 2048)  # two matrices a layer: hidden x 8 and 8 x 3 hidden


def test_weights_are_counted_in_the_headers_of_a_folder(tmp_path):
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [3, 5], "data_offsets": [0, 60]},
            "b": {"dtype": "F32", "shape": [7], "data_offsets": [60, 88]},
        }
    ).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert estimates.weights_in(tmp_path) == 22 and estimates.weights_in(tmp_path / "none") is None
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    assert estimates.weights_in(tmp_path) is None


def test_disk_and_time_by_hand():
    # bf16, all of 10 weights trained: 20 bytes stay; two checkpoints of 2 x 10 bytes of weights and 12 x 10 of optimizer
    assert estimates.training_disk(10, 10, 2) == (20, 280)
    # 1000 examples x 2 epochs x 250 tokens x 1e9 weights x (6 + 2) operations = 4e15, at .3 of 989e12 a second: 13.48 s
    seconds, how = estimates.training_seconds(1000, 2, 250, 1e9, 0, ["NVIDIA H100 80GB HBM3"], "sft")
    assert seconds == pytest.approx(13.48, abs=0.01)
    assert (
        how
        == "sft: 1,000 examples x 2 x 250 tokens x 1.0e9 weights x 8 operations, 1 x NVIDIA H100 80GB HBM3 at 30% of its peak"
    )
    assert estimates.training_seconds(1000, 2, 250, 1e9, 8, ["NVIDIA A100-SXM4-80GB"] * 2, "sft")[0] == pytest.approx(
        3e15 / (0.3 * 624e12)
    )
    for nothing in ([], ["A GPU of tomorrow"]):
        assert estimates.training_seconds(1000, 2, 250, 1e9, 0, nothing, "sft") is None
    assert [estimates.duration(s) for s in (None, 3.14, 59.4, 61, 3725)] == [
        "not known",
        "3.1 s",
        "59 s",
        "1 min 01 s",
        "1 h 02 min",
    ]
    assert [estimates.amount(n) for n in (12, 2_400, 31_000_000, 7.7e9, 2e12)] == [
        "12 B",
        "2.4 kB",
        "31 MB",
        "7.7 GB",
        "2.0 TB",
    ]


def test_a_disk_that_is_too_small_is_told(project, monkeypatch):
    monkeypatch.setattr(Project, "stages", [*project.stages[:3], replace(project.stages[3], disk=(3e9, 4e9))])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9e9, 4e9, 5e9))
    told = text_of(project)
    assert (
        "disk: at most 7.0 GB more, 4.0 GB of it only while a training runs (without data, train, count, not known), 5.0 GB free: "
        "NOT ENOUGH: make 2.0 GB free"
    ) in " ".join(told.split())  # a long line is wrapped


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def missing(kind, what, **environ):
    found = needs.Found()
    needs._enter(found, "stage", Need(kind, what, "do this"), environ)
    return (found.missing + found.notes or [""])[0]


def test_servers_keys_and_ports(server):
    assert missing("server", f"http://127.0.0.1:{server}/v1") == ""
    silent = f"http://127.0.0.1:{free_port()}/v1"
    assert missing("server", silent) == f"stage: {silent}: no server takes connections there; do this"
    assert missing("server", needs.OPENAI) == "stage: OPENAI_API_KEY is not set; do this"
    assert (
        missing("server", needs.OPENAI, OPENAI_API_KEY="k", HTTPS_PROXY="http://proxy") == ""
    )  # behind a proxy it cannot be told
    assert missing("port", str(server)) == f"stage: PORT={server}: taken, or not a port that can be used; do this"
    assert missing("port", str(free_port())) == "" and "PORT=x" in missing("port", "x")


def test_models(tmp_path):
    away = {"HF_HOME": str(tmp_path / "hub home"), "HF_HUB_OFFLINE": "1"}
    assert (
        missing("model", "Owner/name", **away)
        == "stage: Owner/name is not on this machine, and the hub cannot be reached; do this"
    )
    cached = tmp_path / "hub home" / "hub" / "models--Owner--name" / "snapshots" / "abc"
    cached.mkdir(parents=True)
    (cached / "config.json").touch()
    assert missing("model", "Owner/name", **away) == ""
    folder = tmp_path / "my model"
    folder.mkdir()
    assert (
        missing("model", str(folder)) == f"stage: {folder}: not a model folder, there is no config.json in it; do this"
    )
    (folder / "config.json").touch()
    assert missing("model", str(folder)) == ""


def test_a_model_that_can_be_downloaded_is_a_note(tmp_path, server):
    told = missing("model", "Owner/name", HF_HOME=str(tmp_path), HF_ENDPOINT=f"http://127.0.0.1:{server}")
    assert told == "Owner/name is not on this machine: it is downloaded when stage begins"


def test_gpus_that_are_visible(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf 'NVIDIA A100-SXM4-80GB\\nNVIDIA A100-SXM4-80GB\\n'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert needs.gpus({}) == ["NVIDIA A100-SXM4-80GB"] * 2
    assert [len(needs.gpus({"CUDA_VISIBLE_DEVICES": v})) for v in ("", "1", "0,1", "-1")] == [0, 1, 2, 0]
    program.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    assert needs.gpus({}) == []

"""What is up to date and what runs again: never more and never less than what changed. Real scripts in a folder with a space and Hangul."""

import json
import os
import shutil
import time

import pytest
from fake_project import Project, project  # noqa: F401 (fixture)

from korlhf.core.errors import InputError
from korlhf.pipeline import stages
from korlhf.pipeline.prints import Prints
from korlhf.pipeline.stages import Stage

ALL = ["data", "train", "count", "page"]


@pytest.fixture
def done(project):
    """A project whose run is finished."""
    assert project.run() == (0, ALL)
    return project


def test_everything_once_and_then_nothing(done, capsys):
    assert done.model.read_text(encoding="utf-8") == "가나다 ABC\n3 epochs\n"
    assert (done.run_folder / "page.html").read_text(encoding="utf-8") == "가나다 ABC\n3 epochs\n14\n"
    capsys.readouterr()
    assert done.run() == (0, [])
    out = capsys.readouterr().out
    assert "everything is up to date" in out and f"report: {done.run_folder / 'page.html'}" in out


def test_a_changed_input_runs_it_and_all_that_depends_on_it(done):
    done.corpus.write_text("라마바\n", encoding="utf-8")
    assert done.states() == {"data": "changed", "train": "after", "count": "after", "page": "after"}
    assert done.run() == (0, ALL)
    assert done.model.read_text(encoding="utf-8") == "라마바\n3 epochs\n"


def test_what_comes_out_the_same_runs_nothing_further(done, capsys):
    done.corpus.write_text("가나다 aBC\n", encoding="utf-8")
    assert done.run() == (0, ["data"])
    assert "[2/4] train: up to date after all" in capsys.readouterr().out
    assert done.run() == (0, [])


def test_a_new_time_of_change_is_not_a_change(done):
    os.utime(done.corpus, (time.time() + 60, time.time() + 60))
    assert done.run() == (0, [])


def test_a_change_of_the_same_size_right_after_the_run_is_seen(done):
    stat = done.corpus.stat()
    done.corpus.write_text("가나다 abd\n", encoding="utf-8")
    os.utime(done.corpus, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert done.run() == (0, ALL)


def test_a_file_that_changes_again_within_the_same_tick_is_read_again(tmp_path):
    """Size and time of change are the same then: they are trusted only if the file was older than that when it was read."""
    path, prints = tmp_path / "a", Prints(tmp_path / "run", tmp_path)
    for age, seen in ((0, True), (10**9, False)):
        path.write_text("one", encoding="utf-8")
        at = time.time_ns() - age
        os.utime(path, ns=(at, at))
        first = prints.file(path)
        path.write_text("two", encoding="utf-8")
        os.utime(path, ns=(at, at))
        assert (prints.file(path) != first) == seen


def test_a_changed_setting_runs_its_stage_and_what_depends_on_it(done, capsys):
    """The training's folder holds a run with other settings, which it would refuse: here the pipeline has it thrown away, and says so."""
    done.given["train"] = {"EPOCHS": "4"}
    assert done.states() == {"data": "done", "train": "changed", "count": "done", "page": "after"}
    assert done.run() == (0, ["train", "page"])
    assert done.model.read_text(encoding="utf-8") == "가나다 ABC\n4 epochs\n"
    out = capsys.readouterr().out
    assert (
        "changed: EPOCHS (default) -> 4" in out
        and "RUN/train holds a run with other inputs or settings: thrown away" in out
    )
    done.given["count"] = {"UNIT": "-l"}
    assert done.run() == (0, ["count", "page"])


def test_variables_of_the_environment_do_not_reach_stages_that_have_their_own_settings(done):
    done.environ["EPOCHS"] = "9"
    assert done.run() == (0, [])
    (done.root / "train.sh").write_text(
        (done.root / "train.sh").read_text(encoding="utf-8") + "# new\n", encoding="utf-8"
    )
    assert done.run() == (0, ["train"])
    assert done.model.read_text(encoding="utf-8").endswith("3 epochs\n")


def test_a_changed_script_runs_its_stage(done):
    script = done.root / "count.sh"
    script.write_text(script.read_text(encoding="utf-8").replace("wc ", "wc -m "), encoding="utf-8")
    assert done.states()["count"] == "changed"
    assert done.run() == (0, ["count", "page"])


def test_an_output_that_is_gone_is_made_again(done):
    (done.run_folder / "count.txt").unlink()
    assert done.run() == (0, ["count"])  # the page reads the same as before


def test_a_model_that_is_not_whole_is_trained_again(done):
    """finished.json is still there: without its folder being emptied the training would say that it is finished."""
    done.model.write_bytes(done.model.read_bytes()[:5])
    assert done.run() == (0, ["train"])
    assert done.model.read_text(encoding="utf-8") == "가나다 ABC\n3 epochs\n"


def test_a_file_that_was_edited_is_kept_beside(done, capsys):
    (done.run_folder / "data.txt").write_text("mine\n", encoding="utf-8")
    assert done.run() == (0, ["data"])
    assert (done.run_folder / "data.txt.changed").read_text(encoding="utf-8") == "mine\n"
    assert "RUN/data.txt was changed by hand: kept as data.txt.changed" in capsys.readouterr().out


def test_a_run_folder_and_a_project_that_moved_are_up_to_date(done, tmp_path):
    shutil.move(done.root, tmp_path / "moved")
    assert Project(tmp_path / "moved").run() == (0, [])


def test_logs_and_checkpoints_in_a_model_folder_are_no_input(done):
    for name in ("training.log", "metrics.jsonl", "README.md"):
        (done.run_folder / "train" / name).write_text("new", encoding="utf-8")
    assert done.run() == (0, [])
    (done.run_folder / "train" / "checkpoints" / "more").write_text("new", encoding="utf-8")
    assert done.run() == (0, [])
    (done.run_folder / "train" / "chat_template.jinja").write_text("new", encoding="utf-8")
    assert done.run() == (0, ["page"])


def test_from_runs_that_stage_and_all_after_it_again(done):
    assert done.run(first="count") == (0, ["count", "page"])
    assert done.run(first="train") == (0, ["train", "count", "page"])
    done.corpus.write_text("new\n", encoding="utf-8")
    assert done.states(first="count") == {"data": "kept", "train": "kept", "count": "forced", "page": "forced"}
    assert done.run(first="count") == (
        0,
        ["count", "page"],
    )  # what comes before stays as it is, though it is out of date
    assert done.run() == (0, ALL)


def test_to_stops_after_a_stage(project, capsys):
    assert project.run(last="train") == (0, ["data", "train"])
    assert project.run(last="train") == (0, [])
    assert project.run() == (0, ["count", "page"])
    project.given["train"] = {"EPOCHS": "4"}
    capsys.readouterr()
    assert project.run(last="train") == (0, ["train"])
    out = capsys.readouterr().out
    assert "what it took" in out and "report: " not in out  # the page that is there tells of other models


def test_only_runs_one_stage(done):
    done.given["train"] = {"EPOCHS": "4"}
    assert done.run(only="count") == (0, ["count"])
    assert done.run(first="count", last="count") == (0, ["count"])
    assert done.run() == (0, ["train", "page"])


def test_a_stage_is_not_run_on_what_is_missing_or_half_done(done, capsys):
    (done.run_folder / "train" / "finished.json").unlink()
    assert done.run(only="page") == (2, [])
    assert (
        "page reads what stage train makes, which is not there, or not whole: leave out --from and"
        in capsys.readouterr().out
    )
    assert done.run() == (0, ["train"])
    done.environ["FAIL"] = "7"
    assert done.run(only="count") == (7, ["count"])  # what it wrote the first time is still there
    assert done.run(only="page") == (2, [])


def test_a_later_stage_that_changes_an_earlier_one_stops_the_run(project):
    project.environ["SPOIL"] = "1"
    with pytest.raises(InputError, match="RUN/data.txt changed after stage data had written it, before page began"):
        project.run()
    assert project.took()[-1] == "count"
    del project.environ["SPOIL"]
    assert project.run() == (0, ["data", "page"])


def test_dependencies_follow_from_what_is_read_and_written(project, tmp_path):
    assert stages.dependencies(project.stages) == {
        "data": set(),
        "train": {"data"},
        "count": {"data"},
        "page": {"train", "count"},
    }
    first = Stage(name="a", title="", command="", reads=(tmp_path / "x" / "y",))
    second = Stage(name="b", title="", command="", writes=(tmp_path / "x",))
    assert stages.dependencies([second, first]) == {"b": set(), "a": {"b"}}  # a file in a folder that is written
    with pytest.raises(ValueError, match="a reads what .*b.* write, which come later"):
        stages.dependencies([first, second])
    with pytest.raises(ValueError, match="two stages are called a"):
        stages.dependencies([first, first])


def test_settings_are_read_from_the_script(tmp_path):
    script = tmp_path / "run.sh"
    script.write_text(
        'A="${A:-1 2}"   # one\nexport B="${B-$A/x\n$ROOT/y}"\nC="$A"\nlocal="${D:-no}"\n', encoding="utf-8"
    )
    assert [name for name, _, _ in stages.settings_of(script)] == ["A", "B"]
    assert stages.effective(script, {}, ROOT="/r") == {"ROOT": "/r", "A": "1 2", "B": "1 2/x\n/r/y"}
    empty = {"A": "", "B": ""}  # :- and - differ here
    assert stages.effective(script, empty, ROOT="/r") == {"ROOT": "/r", "A": "1 2", "B": ""}


def test_a_record_that_cannot_be_used_is_one_line(done):
    record = done.run_folder / "pipeline.json"
    found = json.loads(record.read_text(encoding="utf-8"))
    other = {**found, "recipe": {"recipe": "v1", "model": "kullm-5.8b"}}
    for text, message in (
        ("{", "not a readable record"),
        (json.dumps({**found, "version": 9}), "another version"),
        (json.dumps(other), "holds a run of recipe v1 model kullm-5.8b"),
    ):
        record.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            done.pipeline()

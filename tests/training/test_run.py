"""The folder of a run: what is resumed, what is refused, what is never deleted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from korlhf.core.errors import InputError
from korlhf.training import run as checkpoint
from korlhf.training.world import World

ONE = World(0, 1, torch.device("cpu"))
SETTINGS = {
    "learning_rate": 1e-5,
    "data_path": ["가.jsonl"],
    "seed": 1,
    "output_dir": "x",
    "save_steps": 5,
    "examples": 10,
}


class FakeEngine:
    """Saves one number."""

    def __init__(self, value=0):
        self.value = value

    def save(self, folder):
        folder.mkdir()
        (folder / "value").write_text(str(self.value), encoding="utf-8")

    def load(self, folder):
        self.value = int((folder / "value").read_text(encoding="utf-8"))


def test_the_newest_whole_checkpoint_is_resumed(tmp_path):
    run = checkpoint.Run(tmp_path / "run", SETTINGS, ONE)
    assert run.resume({"actor": FakeEngine()}) is None
    run.save(5, {"actor": FakeEngine(50)}, {"kl": 0.1}, keep=3)
    run.save(10, {"actor": FakeEngine(100)}, {"kl": 0.2}, keep=3)
    run.save(15, {"actor": FakeEngine(150)}, {"kl": 0.3}, keep=3)
    (run.dir / "checkpoints" / "step_000015" / "manifest.json").unlink()  # killed before it was whole
    engine = FakeEngine()
    assert run.resume({"actor": engine}) == {"kl": 0.2, "step": 10} and engine.value == 100
    run.save(15, {"actor": FakeEngine(151)}, {"kl": 0.4}, keep=3)  # written again over the half one
    assert run.resume({"actor": engine})["step"] == 15 and engine.value == 151


def test_state_is_written_after_every_engine(tmp_path):
    class Dies(FakeEngine):
        def save(self, folder):
            raise OSError("disk full")

    run = checkpoint.Run(tmp_path, SETTINGS, ONE)
    run.save(5, {"actor": FakeEngine(50), "critic": FakeEngine(51)}, {}, keep=1)
    with pytest.raises(OSError):
        run.save(10, {"actor": FakeEngine(100), "critic": Dies()}, {}, keep=1)
    engines = {"actor": FakeEngine(), "critic": FakeEngine()}
    assert run.resume(engines)["step"] == 5 and (engines["actor"].value, engines["critic"].value) == (50, 51)


def test_only_the_newest_are_kept(tmp_path):
    run = checkpoint.Run(tmp_path, SETTINGS, ONE)
    for step in (1, 2, 3, 4):
        run.save(step, {"actor": FakeEngine(step)}, {}, keep=2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step_000003", "step_000004"]


def test_other_settings_are_refused_by_name(tmp_path):
    checkpoint.Run(tmp_path, SETTINGS, ONE)
    checkpoint.Run(tmp_path, {**SETTINGS, "save_steps": 7, "output_dir": "y"}, ONE)  # free to change
    with pytest.raises(
        InputError, match=r"seed: 1 there, 2 now\); give another --output_dir, or --overwrite_output_dir"
    ):
        checkpoint.Run(tmp_path, {**SETTINGS, "seed": 2}, ONE)
    with pytest.raises(InputError, match=r"data_path: \['가.jsonl'\] there, \['나.jsonl'\] now, and 1 more"):
        checkpoint.Run(tmp_path, {**SETTINGS, "seed": 2, "data_path": ["나.jsonl"]}, ONE)
    assert json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))["seed"] == 1


INPUTS = {"training examples": "a", "held-out examples": "b", "model_name_or_path": "c"}


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"training examples": "x"}, "the training examples"),
        ({"model_name_or_path": "x"}, "the model of --model_name_or_path"),
        (
            {"held-out examples": "x", "model_name_or_path": "y"},
            "the held-out examples, the model of --model_name_or_path",
        ),
        ({"unsupervised examples": "x"}, "the unsupervised examples"),
    ],
)
def test_changed_data_and_models_are_refused_by_name(tmp_path, changed, words):
    checkpoint.Run(tmp_path, SETTINGS, ONE, inputs=INPUTS)
    checkpoint.Run(tmp_path, SETTINGS, ONE, inputs=INPUTS).finish({})
    line = (
        f"--output_dir .*: changed since its run began: {words}; give another --output_dir, or --overwrite_output_dir"
    )
    for settings in (SETTINGS, {**SETTINGS, "examples": 11}):
        with pytest.raises(InputError, match=line):
            checkpoint.Run(tmp_path, settings, ONE, inputs=INPUTS | changed)
    with pytest.raises(InputError, match="other settings .*data_path"):  # the flag tells more than the content
        checkpoint.Run(tmp_path, {**SETTINGS, "data_path": ["나.jsonl"]}, ONE, inputs=INPUTS | changed)
    assert not checkpoint.Run(tmp_path, SETTINGS, ONE, True, INPUTS | changed).finished


def test_a_run_of_an_earlier_version_is_resumed(tmp_path):
    """It knows neither fingerprints, betas, DoRA, 4 bits nor RL without a critic; step 3 had --eval_steps."""
    checkpoint.Run(tmp_path, {**SETTINGS, "eval_interval": 0, "eval_steps": 14}, ONE)
    settings = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    del settings["inputs"]
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    betas = {f"{model}adam_beta{i}": beta for model in ("actor_", "critic_") for i, beta in ((1, 0.9), (2, 0.95))}
    off = {f"{model}{name}": False for model in ("actor_", "critic_") for name in ("use_dora", "load_in_4bit")}
    rl = {
        "advantage_estimator": "gae",
        "num_generations": 1,
        "kl_in": "reward",
        "dynamic_sampling": False,
        "reward": [],
    }
    now = {**SETTINGS, **betas, **off, **rl, "eval_interval": 14}
    with pytest.raises(InputError, match="actor_adam_beta1: 0.9 there, 0.8 now"):
        checkpoint.Run(tmp_path, {**now, "actor_adam_beta1": 0.8}, ONE, inputs=INPUTS)
    checkpoint.Run(tmp_path, now, ONE, inputs=INPUTS)
    with pytest.raises(InputError, match="the training examples"):  # known from here on
        checkpoint.Run(tmp_path, now, ONE, inputs=INPUTS | {"training examples": "x"})


class TwoProcesses:
    rank, size, first, device = 0, 2, True, torch.device("cpu")

    def barrier(self):
        pass


def test_overwrite_empties_a_run_and_nothing_else(tmp_path):
    run = checkpoint.Run(tmp_path / "run", SETTINGS, ONE)
    run.save(5, {"actor": FakeEngine(5)}, {}, keep=1)
    del run
    again = checkpoint.Run(tmp_path / "run", {**SETTINGS, "seed": 2}, ONE, overwrite=True)
    assert again.resume({"actor": FakeEngine()}) is None
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("글", encoding="utf-8")
    with pytest.raises(InputError, match="--output_dir .* is not a training run"):
        checkpoint.Run(foreign, SETTINGS, ONE, overwrite=True)
    assert (foreign / "thesis.txt").exists()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "training.log").write_text("==", encoding="utf-8")  # the run script is writing to it
    checkpoint.Run(tmp_path / "empty", SETTINGS, ONE, overwrite=True)
    assert (tmp_path / "empty" / "training.log").exists()


def test_a_folder_that_another_process_trains_into_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "LOCK_SECONDS", 0.5)
    program = (
        "import sys, torch; from korlhf.training import run as checkpoint; from korlhf.training.world import World; "
        "run = checkpoint.Run(sys.argv[1], {'seed': 1}, World(0, 1, torch.device('cpu'))); "
        "print('begun', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert "begun\n" in iter(other.stdout.readline, "")
        (tmp_path / "model.safetensors").write_text("x", encoding="utf-8")
        for overwrite in (False, True):
            with pytest.raises(InputError, match="another process is training into it; wait for it, or give another"):
                checkpoint.Run(tmp_path, {"seed": 1}, ONE, overwrite=overwrite)
        assert (tmp_path / "model.safetensors").exists()
        other.kill()
    checkpoint.Run(tmp_path, {"seed": 1}, ONE)


def test_a_settings_file_of_another_program_is_not_a_run(tmp_path):
    (tmp_path / "settings.json").write_text('{"editor.fontSize": 12}', encoding="utf-8")
    (tmp_path / "thesis.txt").write_text("글", encoding="utf-8")
    for overwrite in (True, False):
        with pytest.raises(InputError, match="is not a training run"):
            checkpoint.Run(tmp_path, SETTINGS, ONE, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").exists()


def test_finished(tmp_path):
    run = checkpoint.Run(tmp_path, SETTINGS, ONE)
    run.save(5, {"actor": FakeEngine(5)}, {}, keep=1)
    assert not run.finished
    run.finish({"loss": 1.5, "이름": "값"})
    del run
    assert checkpoint.Run(tmp_path, SETTINGS, ONE).finished and not (tmp_path / "checkpoints").exists()
    assert json.loads((tmp_path / "finished.json").read_text(encoding="utf-8")) == {"loss": 1.5, "이름": "값"}


def test_a_step_draws_the_same_numbers_again_and_others_than_its_neighbours():
    def draw(*args):
        checkpoint.seed_step(*args)
        return tuple(torch.rand(3).tolist())

    assert draw(1, 5) == draw(1, 5)
    assert len({draw(1, 5), draw(1, 6), draw(2, 5), draw(1, 5, 1), draw(1, 6, 1)}) == 5


def test_killed_while_it_clears_a_folder_that_is_still_known_as_ours(tmp_path, monkeypatch):
    """Whatever order the folder is listed in, settings.json goes last."""
    folder = tmp_path / "run"
    checkpoint.Run(folder, SETTINGS, ONE)
    for name in ("a.safetensors", "z.safetensors"):
        (folder / name).write_text("x", encoding="utf-8")
    gone, real = [], Path.unlink

    def unlink(path, *args, **kwargs):
        gone.append(path.name)
        real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "unlink", unlink)
    checkpoint.Run(folder, SETTINGS, ONE, overwrite=True)
    assert gone[-1] == "settings.json" and {"a.safetensors", "z.safetensors"} < set(gone)


def begun(folder, steps, keep=3):
    run = checkpoint.Run(folder, SETTINGS, ONE)
    for step in steps:
        run.save(step, {"actor": FakeEngine(step * 10)}, {"step_before": step - 1}, keep=keep)
    return run


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    first, *rest = path.read_bytes()
    path.write_bytes(bytes([first ^ 1, *rest]))


DAMAGES = [
    ("actor/value", cut, "actor/value has 2 bytes of 3"),
    ("actor/value", flip, "actor/value was changed"),
    ("actor/value", Path.unlink, "actor/value is missing"),
    ("state.json", flip, "state.json was changed"),
    ("state.json", Path.unlink, "state.json is missing"),
    ("manifest.json", cut, ""),  # the line's end alone
    ("manifest.json", flip, "its files cannot be read"),
    ("manifest.json", lambda p: p.write_text(p.read_text().replace("value", "valve"), encoding="utf-8"), "was changed"),
    ("manifest.json", lambda p: p.write_text("[]", encoding="utf-8"), "its files cannot be read"),
]


@pytest.mark.parametrize("name, damage, line", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, capsys, name, damage, line):
    run, engine = begun(tmp_path, (5, 10)), FakeEngine()
    damage(tmp_path / "checkpoints" / "step_000010" / name)
    state = run.resume({"actor": engine})
    said = capsys.readouterr().err
    if not line:
        assert (state["step"], engine.value, said) == (10, 100, "")
        return
    assert (state["step"], engine.value) == (5, 50)
    assert said.count("\n") == 1 and "step_000010 is left out: " in said and line in said
    run.save(7, {"actor": FakeEngine(70)}, {}, keep=3)  # the damaged one is not in the way
    assert run.resume({"actor": engine})["step"] == 7
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step_000005", "step_000007"]


def test_without_a_whole_checkpoint_nothing_is_begun_silently(tmp_path, capsys):
    run = begun(tmp_path, (5,))
    flip(tmp_path / "checkpoints" / "step_000005" / "actor" / "value")
    with pytest.raises(InputError, match=r"no checkpoint is whole \(step_000005: actor/value was changed\); --overwr"):
        run.resume({"actor": FakeEngine()})


def test_the_first_checkpoint_was_only_half_written(tmp_path, capsys):
    run = begun(tmp_path, (5,))
    (tmp_path / "checkpoints" / "step_000005" / "manifest.json").unlink()
    assert run.resume({"actor": FakeEngine()}) is None
    assert "step_000005 is left out: it was only half written" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version_has_no_manifest(tmp_path):
    run = begun(tmp_path, (5,))
    folder = tmp_path / "checkpoints" / "step_000005"
    (folder / "manifest.json").unlink()
    (folder / "state.json").write_text('{"step": 5}', encoding="utf-8")
    assert run.resume({"actor": FakeEngine()}) == {"step": 5}


def test_the_last_one_goes_only_when_the_new_one_is_whole(tmp_path, monkeypatch):
    run = begun(tmp_path, (5,), keep=1)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.manifest, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        run.save(10, {"actor": FakeEngine(100)}, {}, keep=1)
    engine = FakeEngine()
    assert run.resume({"actor": engine})["step"] == 5 and engine.value == 50


def test_killed_before_the_settings_were_written_the_folder_is_still_ours(tmp_path):
    (tmp_path / "settings.json.part").write_text("{", encoding="utf-8")
    (tmp_path / "training.log").write_text("==", encoding="utf-8")
    checkpoint.Run(tmp_path, SETTINGS, ONE)


def test_a_run_goes_on_however_it_is_spread(tmp_path):
    """As long as all processes together take as many examples in a step."""
    sizes = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "zero_stage": 0}
    checkpoint.Run(tmp_path, SETTINGS | sizes, ONE)
    two = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "zero_stage": 3}
    checkpoint.Run(tmp_path, SETTINGS | two, TwoProcesses())
    with pytest.raises(InputError, match="sequences per step: 8 there, 16 now"):
        checkpoint.Run(tmp_path, SETTINGS | sizes, TwoProcesses())
    rl = {"per_device_generation_batch_size": 4, "generation_batches": 2, "per_device_training_batch_size": 4}
    rl |= {"gradient_accumulation_steps": 1}
    checkpoint.Run(tmp_path / "rl", SETTINGS | rl, ONE)
    checkpoint.Run(
        tmp_path / "rl", SETTINGS | rl | {"generation_batches": 1, "per_device_training_batch_size": 2}, TwoProcesses()
    )
    with pytest.raises(InputError, match="trained answers per optimizer step: 4 there, 8 now"):
        checkpoint.Run(tmp_path / "rl", SETTINGS | rl | {"gradient_accumulation_steps": 2}, ONE)


PATHS = {"model_name_or_path": "/a/base", "data_path": ["/a/가.jsonl"]}
MOVED = {"model_name_or_path": "/b/base", "data_path": ["/b/가.jsonl"]}


def test_moved_models_and_data_are_known_by_what_they_hold(tmp_path):
    begun = checkpoint.Run(tmp_path / "a", SETTINGS | PATHS, ONE, inputs=INPUTS)
    begun.save(5, {"actor": FakeEngine(50)}, {}, keep=1)
    del begun
    (tmp_path / "a").rename(tmp_path / "b")
    engine = FakeEngine()
    assert checkpoint.Run(tmp_path / "b", SETTINGS | MOVED, ONE, inputs=INPUTS).resume({"actor": engine})["step"] == 5
    with pytest.raises(InputError, match="seed: 1 there, 2 now"):
        checkpoint.Run(tmp_path / "b", SETTINGS | PATHS | {"seed": 2}, ONE, inputs=INPUTS)
    with pytest.raises(InputError, match="data_path"):
        checkpoint.Run(tmp_path / "b", SETTINGS | PATHS, ONE, inputs=INPUTS | {"training examples": "x"})


def test_a_folder_that_cannot_be_made_is_named_in_one_line(tmp_path):
    (tmp_path / "file").write_text("글", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / ("가" * 100)):
        with pytest.raises(InputError, match="--output_dir .* cannot be written: .*; mend that and start the same"):
            checkpoint.Run(folder, SETTINGS, ONE)
    (tmp_path / "file").unlink()
    checkpoint.Run(tmp_path / "file", SETTINGS, ONE)


@pytest.mark.parametrize("name", ["settings.json", "finished.json"])
@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:9] + b"\xff" + b[10:], lambda b: b"[]"])
def test_a_damaged_record_of_the_run_is_named(tmp_path, name, damage):
    run = checkpoint.Run(tmp_path, SETTINGS, ONE)
    run.finish({"steps": 5, "이름": "값"})
    del run
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()) + (b'"processes":' if name == "settings.json" else b""))
    with pytest.raises(InputError, match=f"{name} is damaged .*--overwrite_output_dir"):
        checkpoint.Run(tmp_path, SETTINGS | {"total_steps": 9}, ONE)
    checkpoint.Run(tmp_path, SETTINGS, ONE, overwrite=True)
    assert [p.name for p in tmp_path.iterdir() if p.name != "training.log"] == ["settings.json"]

"""Save and exact resume: a run that is killed and started again ends with the same bits as one that was not.

OUTPUT_DIR/checkpoints/step_000100/ holds one folder per engine, state.json and manifest.json, which is written last and
tells what every file must be: a folder that is half written or damaged is named and the one before is taken. Nothing
random is stored: every step draws from a seed made of --seed and the step. settings.json holds every flag and the
fingerprints of what the run was begun with: data and models that changed since are noticed.
"""

import fcntl
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from korlhf.core.errors import InputError
from korlhf.core.files import UNWRITABLE, write_json
from korlhf.core.seeds import STEP, derive
from korlhf.training import manifest
from korlhf.training.world import World

# Settings that may differ between a run and its resumption without changing the result.
FREE = {
    *(
        "output_dir",
        "save_steps",
        "save_total_limit",
        "overwrite_output_dir",
        "report_to",
        "enable_tensorboard",
        "tensorboard_path",
    ),
    *("deepspeed", "local_rank", "print_answers", "per_device_eval_batch_size", "estimate_memory"),
    *("max_bad_steps", "stop_on_divergence", "ddp_timeout", "reward_wait"),
    *("vllm_url", "vllm_args", "vllm_gpus", "vllm_sleep", "vllm_weights", "vllm_weights_dir", "vllm_timeout"),
    # of the servers that step 3's judges ask
    *("base_url", "api_key_env", "concurrency", "max_requests", "max_cost", "price_input", "price_output"),
    *("request_timeout", "max_retries", "cache"),
}
# Settings that earlier versions did not write -> what their runs were trained with.
OF_A_MODEL = {"adam_beta1": 0.9, "adam_beta2": 0.95, "use_dora": False, "load_in_4bit": False}
ADDED = {
    **{f"{model}{name}": value for name, value in OF_A_MODEL.items() for model in ("", "actor_", "critic_")},
    **{"lora_dropout": 0.0, "margin_column": "", "min_margin": 0.0},
    **{"margin_weight": 0.0, "center_rewards": 0.0, "label_smoothing": 0.0},
    **{"advantage_estimator": "gae", "num_generations": 1, "scale_rewards": "group", "loss_aggregation": "token"},
    **{"ratio": "token", "cliprange_high": 0.0, "kl_in": "reward", "kl_estimator": "auto"},
    **{"mask_truncated": False, "dynamic_sampling": False},
    **{"reward": [], "veto": [], "ensemble_penalty": 0.0},
    **{"rollout": "local", "rollout_correction": "none", "rollout_ratio_max": 2.0},
    **{"judge_samples": 5, "judge_temperature": 1.0, "structured": "auto"},
}
# How long a run is: a run that stands at an earlier step goes on to its new end.
LENGTH = {"max_steps", "num_train_epochs", "total_steps"}
# How a run is spread may differ too, but for rounding: what all processes together do in a step may not.
SPREAD = {"processes", "zero_stage", "actor_zero_stage", "critic_zero_stage", "offload"}
PER_STEP = {
    "sequences per step": ("per_device_train_batch_size", "gradient_accumulation_steps"),
    "sampled answers per step": ("per_device_generation_batch_size", "generation_batches"),
    "trained answers per optimizer step": ("per_device_training_batch_size", "gradient_accumulation_steps"),
}
FINISHED = "is finished already; give another --output_dir, or --overwrite_output_dir to train again"
# What a run that was killed before it was begun leaves, and the log that the run script is writing.
OWN_LEFTOVERS = {"training.log", "settings.json.part", "errors"}
LOCK_SECONDS = 10  # a run that was killed may take a moment to end


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch for one step in one process: resumption needs no stored generator state."""
    torch.manual_seed(derive(seed, step, rank, stride=STEP))


class Run:
    """The folder of one training run."""

    def __init__(
        self,
        output_dir: str | Path,
        settings: dict[str, Any],
        world: World,
        overwrite: bool = False,
        inputs: dict[str, str] | None = None,
    ):
        """settings: every flag, the number of examples, total_steps; inputs: fingerprints of "... examples" and of the
        models that flags name.

        A folder begun with others is refused with InputError. One that already holds a finished model of the same is
        not trained again: see `finished`; with more total_steps it goes on, if it kept a checkpoint. The folder is
        locked as long as this object lives: InputError if another process trains into it.
        """
        self.dir, self.world = Path(output_dir), world
        self.settings = {k: v for k, v in settings.items() if k not in FREE}
        self.settings |= {"processes": world.size, "inputs": inputs or {}}
        if world.first:
            try:
                self._open(overwrite)
            except OSError as error:
                raise unwritable(self.dir, error) from error
        world.barrier()
        self._check_settings()
        goes_on = self._goes_on()
        world.barrier()
        if world.first:
            if goes_on:
                (self.dir / "finished.json").unlink()
            write_json(self.dir / "settings.json", self.settings)
        world.barrier()

    def _open(self, overwrite):
        if self.dir.exists():
            self._foreign_checked()
        self.dir.mkdir(parents=True, exist_ok=True)
        self._lock = self._locked()
        if overwrite:
            self._clear()

    def _locked(self):
        """The open log of the folder, locked; the system gives the lock back when this process ends, however it ends.

        (filelock would empty the log, or leave a file of its own in the folder of the finished model.)
        """
        file = open(self.dir / "training.log", "a", encoding="utf-8")  # noqa: SIM115 locked as long as it is open
        limit = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return file
            except BlockingIOError as error:
                if time.monotonic() > limit:
                    raise InputError(
                        f"--output_dir {self.dir}: another process is training into it; wait for it, or give another"
                    ) from error
                time.sleep(0.1)

    def _clear(self):
        """Remove what an earlier run wrote; a folder that no run of ours began is never emptied.

        settings.json, by which the folder is known as ours, goes last: killed in between, the same command can clear
        the rest.
        """
        for p in sorted(self._foreign_checked(), key=lambda p: p.name == "settings.json"):
            shutil.rmtree(p) if p.is_dir() and not p.is_symlink() else p.unlink()

    def _foreign_checked(self):
        """What lies in the folder, but for OWN_LEFTOVERS.

        Raises InputError if no run of ours put it there.
        """
        path = self.dir / "settings.json"  # other programs have one too
        ours = path.exists() and b'"processes":' in path.read_bytes()
        inside = [p for p in self.dir.iterdir() if p.name not in OWN_LEFTOVERS]
        if inside and not ours:
            raise InputError(
                f"--output_dir {self.dir} holds files but no settings.json of ours, so it is not a training run; "
                "give another --output_dir"
            )
        return inside

    def _check_settings(self):
        """Raises InputError if the folder was begun with other settings or inputs."""
        if not self._foreign_checked():
            return
        before = ADDED | self._read("settings.json")
        if "eval_steps" in before:  # step 3's name of --eval_interval, which it ignored then
            before["eval_interval"] = before.pop("eval_steps")
        now = ADDED | json.loads(json.dumps(self.settings))
        before, now = _however_spread(before), _however_spread(now)
        inputs: dict[str, str] = now.pop("inputs")
        known: dict[str, str] = before.pop("inputs", {})  # earlier versions wrote none
        changed = [k for k in sorted({*before, *now}) if before.get(k) != now.get(k) and k not in LENGTH]
        others = [k for k in sorted({*inputs, *known}) if known and inputs.get(k) != known.get(k)]
        remedy = "give another --output_dir, or --overwrite_output_dir"
        if known and not others:  # the same models and data, wherever they lie now
            changed = [k for k in changed if not k.endswith(("model_name_or_path", "data_path", "dataset_name"))]
        if others and set(changed) <= {"examples"}:
            names = ", ".join(map(_input_name, others))
            raise InputError(f"--output_dir {self.dir}: changed since its run began: {names}; {remedy}")
        if changed:
            k, more = changed[0], f", and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise InputError(
                f"--output_dir {self.dir} holds a run with other settings "
                f"({k}: {before.get(k)!r} there, {now.get(k)!r} now{more}); {remedy}"
            )

    def _read(self, name):
        try:
            value = json.loads((self.dir / name).read_text(encoding="utf-8"))
        except ValueError as error:
            value = str(error)
        if not isinstance(value, dict):
            raise InputError(
                f"--output_dir {self.dir}: {name} is damaged ({value}); put it back, or "
                "--overwrite_output_dir to train again"
            )
        return value

    def _goes_on(self):
        """Whether a finished run is to be trained on; raises InputError if it is to be and cannot."""
        if not self.finished:
            return False
        done = self._read("finished.json").get("steps")
        wanted = self.settings.get("total_steps", done)
        if wanted == done:
            return False
        if wanted < done:
            raise InputError(
                f"--output_dir {self.dir} is finished after {done} steps, more than the {wanted} wanted now; "
                "give another --output_dir to train a shorter one"
            )
        if all(manifest.damage(p, self.world) for p in self._checkpoints()):
            raise InputError(
                f"--output_dir {self.dir} is finished after {done} steps and kept no whole checkpoint to go on from "
                "(a run with --save_steps that --max_steps ends keeps one); train its model on in another --output_dir"
            )
        return True

    @property
    def finished(self) -> bool:
        return (self.dir / "finished.json").exists()

    def finish(self, figures: dict[str, Any]) -> None:
        """Mark the run as finished and drop its resumable checkpoints and what ended it before."""
        if self.world.first:
            write_json(self.dir / "finished.json", figures)
            for gone in ("checkpoints", "errors"):
                shutil.rmtree(self.dir / gone, ignore_errors=True)
        self.world.barrier()

    def _folder(self, step):
        return self.dir / "checkpoints" / f"step_{step:06d}"

    def _checkpoints(self):
        """Folders of checkpoints, the half written ones too, oldest first."""
        return sorted(p for p in (self.dir / "checkpoints").glob("step_*") if p.is_dir())

    def save(self, step: int, engines: dict[str, Any], state: dict[str, Any], keep: int) -> None:
        """engines: name -> what has save(folder) and load(folder), as Engine has; state: JSON-able values to resume
        with; keep: checkpoints, older ones go once this one is whole. All processes call it.
        """
        folder = self._folder(step)
        if self.world.first:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.world.barrier()
        for name, engine in engines.items():
            engine.save(folder / name)
        self.world.barrier()
        if self.world.first:
            write_json(folder / "state.json", {**state, "step": step, "manifest": True})
        self.world.barrier()
        manifest.write(folder, self.world)
        self.prune(step, keep)

    def prune(self, step: int, keep: int) -> None:
        """Delete all but the last `keep` whole checkpoints up to that of `step`; later ones were damaged when this run
        began. All processes call it.
        """
        if self.world.first:
            newest = self._folder(step)
            whole = [p for p in self._checkpoints() if p <= newest and manifest.written(p)]
            for old in set(self._checkpoints()) - set(whole[-keep:]):
                _delete(old)
        self.world.barrier()

    def drop(self, step: int) -> None:
        """Delete the checkpoint of `step`. All processes call it."""
        if self.world.first:
            _delete(self._folder(step))
        self.world.barrier()

    def resume(self, engines: dict[str, Any]) -> dict[str, Any] | None:
        """Load the newest whole checkpoint into `engines` and return its state, or None.

        One that is not whole is named on stderr. Raises InputError if all are damaged; half written ones are what a
        kill leaves.
        """
        lost = ""
        for folder in reversed(self._checkpoints()):
            damage = manifest.damage(folder, self.world)
            if not damage:
                for name, engine in engines.items():
                    engine.load(folder / name)
                state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                return {k: v for k, v in state.items() if k != "manifest"}
            if self.world.first:
                print(f"warning: {folder} is left out: {damage}", file=sys.stderr, flush=True)
            if damage != manifest.INTERRUPTED:
                lost = lost or f"{folder.name}: {damage}"
        if lost:
            raise InputError(
                f"--output_dir {self.dir}: no checkpoint is whole ({lost}); --overwrite_output_dir to train again"
            )
        return None

    def stopped(self, save_steps: int) -> str:
        """What to tell somebody who pressed Ctrl-C."""
        whole = [p for p in self._checkpoints() if manifest.written(p)]
        if whole:
            step = int(whole[-1].name.removeprefix("step_"))
            return f"stopped; start the same command again to resume after step {step}"
        why = f"before the first checkpoint (--save_steps {save_steps})" if save_steps else "without --save_steps"
        return f"stopped {why}: the same command starts from the beginning"


def _input_name(key):
    if key.endswith("examples"):
        return f"the {key}"
    return f"the model of --{key}" if key.endswith("model_name_or_path") else f"--{key}"


def _delete(checkpoint):
    for last in (manifest.NAME, "state.json"):  # killed in between, the rest is known as half a checkpoint
        (checkpoint / last).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def unwritable(folder: Path, error: OSError) -> Exception:
    """InputError if a user can mend that `folder` was not written to, else `error` itself."""
    if error.errno not in UNWRITABLE:
        return error
    where = error.filename or folder
    return InputError(
        f"--output_dir {folder}: {where} cannot be written: {error.strerror}; mend that and start the same command "
        "again, or give another"
    )


def _however_spread(settings):
    """Settings with the sizes of all processes' batches in the place of those of each."""
    sizes = {k: v for k, v in PER_STEP.items() if v[0] in settings}
    kept = {k: v for k, v in settings.items() if k not in SPREAD.union(*sizes.values())}
    processes = settings.get("processes", 1)
    return kept | {k: settings[a] * settings[b] * processes for k, (a, b) in sizes.items()}

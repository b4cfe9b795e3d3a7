"""Save and exact resume: a run that is killed and started again ends with the same bits as one that was not.

OUTPUT_DIR/checkpoints/step_000100/ holds one DeepSpeed folder per engine and state.json, which is written last: a folder without it
is half written and is ignored. Nothing random is stored: every step draws from a seed made of --seed and the step.
"""

import fcntl
import json
import shutil
import time
from pathlib import Path

import torch

from korlhf.core.errors import InputError
from korlhf.core.files import write_json

# Settings that may differ between a run and its resumption without changing the result.
FREE = {
    "output_dir",
    "save_steps",
    "save_total_limit",
    "local_rank",
    "overwrite_output_dir",
    "enable_tensorboard",
    "tensorboard_path",
    "deepspeed",
    "print_answers",
    "per_device_eval_batch_size",
}
LOCK_SECONDS = 10  # a run that was killed may take a moment to end


def seed_step(seed, step, rank=0):
    """Seed torch for one step on one rank: resumption needs no stored generator state."""
    torch.manual_seed((seed * 1_000_003 + step) * 4099 + rank)


class Run:
    """The folder of one training run."""

    def __init__(self, output_dir, settings, ranks, overwrite=False):
        """settings: every flag and the size of the data; a folder begun with others is refused with InputError.

        A folder that already holds a finished model of the same settings is not trained again: see `finished`. The folder is locked
        as long as this object lives: InputError if another process trains into it.
        """
        self.dir, self.ranks = Path(output_dir), ranks
        self.settings = {k: v for k, v in settings.items() if k not in FREE}
        self.settings["processes"] = ranks.world
        if ranks.first:
            if self.dir.exists():
                self._foreign_checked()
            self.dir.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            if overwrite:
                self._clear()
        ranks.barrier()
        self._check_settings()
        ranks.barrier()
        if ranks.first:
            write_json(self.dir / "settings.json", self.settings)

    def _locked(self):
        """The open log of the folder, locked; the system gives the lock back when this process ends, however it ends."""
        file = open(self.dir / "training.log", "a", encoding="utf-8")
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

        settings.json, by which the folder is known as ours, goes last: killed in between, the same command can go on.
        """
        for p in sorted(self._foreign_checked(), key=lambda p: p.name == "settings.json"):
            shutil.rmtree(p) if p.is_dir() and not p.is_symlink() else p.unlink()

    def _foreign_checked(self):
        """What lies in the folder, but for the log that the run script is writing now. Raises InputError if no run of ours put it there."""
        path = self.dir / "settings.json"
        ours = path.exists() and '"processes":' in path.read_text(
            encoding="utf-8"
        )  # other programs have a settings.json too
        found = [p for p in self.dir.iterdir() if p.name != "training.log"]
        if found and not ours:
            raise InputError(
                f"--output_dir {self.dir} holds files but no settings.json of ours, so it is not a training run; give another --output_dir"
            )
        return found

    def _check_settings(self):
        path = self.dir / "settings.json"
        if not self._foreign_checked():
            return
        before = json.loads(path.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(self.settings))
        changed = [k for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
        if changed:
            k = changed[0]
            raise InputError(
                f"--output_dir {self.dir} holds a run with other settings ({k}: {before.get(k)!r} there, {now.get(k)!r} now"
                + (f", and {len(changed) - 1} more" if len(changed) > 1 else "")
                + "); give another --output_dir, or --overwrite_output_dir"
            )

    @property
    def finished(self):
        return (self.dir / "finished.json").exists()

    def finish(self, figures):
        """Mark the run as finished and drop its resumable checkpoints."""
        if self.ranks.first:
            write_json(self.dir / "finished.json", figures)
            shutil.rmtree(self.dir / "checkpoints", ignore_errors=True)
        self.ranks.barrier()

    def _whole(self):
        """Complete checkpoints, oldest first."""
        return sorted(p.parent for p in (self.dir / "checkpoints").glob("step_*/state.json"))

    def save(self, step, engines, state, keep):
        """engines: name -> Engine. state: JSON-able values to go on with. All ranks call it."""
        folder = self.dir / "checkpoints" / f"step_{step:06d}"
        if self.ranks.first:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.ranks.barrier()
        for name, engine in engines.items():
            engine.save(folder / name)
        self.ranks.barrier()
        if self.ranks.first:
            write_json(folder / "state.json", {**state, "step": step})
            for old in self._whole()[:-keep]:
                shutil.rmtree(old)
        self.ranks.barrier()

    def resume(self, engines):
        """Load the newest complete checkpoint into `engines` and return its state, or None."""
        found = self._whole()
        if not found:
            return None
        for name, engine in engines.items():
            engine.load(found[-1] / name)
        return json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))

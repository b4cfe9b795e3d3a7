"""How fast this machine trains a model, and the settings of the three steps that fit into a number of minutes.

Writes OUTPUT_DIR/sft.flags, reward.flags and ppo.flags (a word a line, for main.py of each step) and, last,
budget.json. run_all.sh calls it first in its recipe `bot`; the settings are those of docs/talks.md.
"""

import time

BEGAN = time.perf_counter()

from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

from korlhf.core import flags, program  # noqa: E402
from korlhf.core.files import read_json  # noqa: E402
from korlhf.models.folders import check_inputs  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class BudgetFlags:
    """budget"""

    model_name_or_path: str = flags.flag(flags.REQUIRED, "the pretrained model: a folder or a hub name")
    data_path: list[str] = flags.flag(
        [], "your data besides the sample, for every step that they can train: answers, pairs, prompts, plain text"
    )
    minutes: float = flags.flag(60.0, "that the three steps and their evaluation may take", above=0)
    output_dir: str = flags.flag(flags.REQUIRED, "where the settings go", output="folder")
    overwrite: bool = flags.flag(False, "measure anew what was measured before")
    trust_remote_code: bool = flags.flag(False, "run Python code that comes with a hub model")
    seed: int = flags.seed_flag("seed of the LoRA weights")


def main(argv=None):
    (args,) = flags.parse(argv, "Settings that fit into a number of minutes", BudgetFlags)
    check_inputs(args.data_path, [("--model_name_or_path", args.model_name_or_path)])
    asked = {name: getattr(args, name) for name in ("model_name_or_path", "data_path", "minutes", "seed")}
    if not args.overwrite and kept(Path(args.output_dir).expanduser() / "budget.json", asked):
        return
    with program.slow_imports():
        from korlhf.applications.rlhf import plan

    plan.run(args, asked, BEGAN)


def kept(file: Path, asked: dict) -> bool:
    """Whether this was asked before: then another speed changes no training that has begun."""
    if not file.exists() or read_json(file)["asked"] != asked:
        return False
    file.touch()
    print(f"{file.parent}: as it was measured before")
    return True


if __name__ == "__main__":
    program.run(main, "stopped; the same command starts over")

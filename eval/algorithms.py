"""PPO, RLOO, GRPO, REINFORCE and DPO next to each other: what the same number of answers made of one SFT model.

Every model answers the same held-out prompts at temperature 1, with the seeds of this program; the reward model that
the trainings had scores them, and the SFT model is the reference of the KL. Reads RUN_DIR/sft, RUN_DIR/reward and
RUN_DIR/ALGORITHM_SEED, as `RECIPE=algorithms bash applications/rlhf/run_all.sh` leaves them.
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core import program
from korlhf.core.flags import REQUIRED, flag, parse, seed_flag
from korlhf.data import load


@dataclass(frozen=True, kw_only=True)
class AlgorithmFlags:
    """comparison"""

    run_dir: str = flag(REQUIRED, "folder with sft/, reward/ and the trained models, named ALGORITHM_SEED")
    data_path: list[str] = flag(["sample/heldout_prompts"], "prompts: dataset names as in training, or files")
    max_prompts: int = flag(0, "at most this many prompts, drawn with the categories' shares kept; 0 = all", low=0)
    max_new_tokens: int = flag(64, "longest answer in tokens", above=0)
    batch_size: int = flag(64, "answers sampled or scored at once", above=0)
    seed: int = seed_flag("seed of the draw of prompts and of the answers")


def main(argv=None):
    (args,) = parse(argv, "PPO, RLOO, GRPO, REINFORCE and DPO next to each other", AlgorithmFlags)
    load.check_names(args.data_path)
    with program.slow_imports():
        from korlhf.eval import algorithms

    found = algorithms.trained(Path(args.run_dir))
    measured = algorithms.measure(found, args)
    for path in algorithms.write(Path(args.run_dir), measured, args):
        print(f"written: {path}")


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers so far are in the cache")

"""What a model says before SFT, after SFT and after PPO or the like: all answers to fixed prompts, unpicked, and
figures.

Writes OUTPUT_DIR/talks.md, talks.ko.md and talks.json of a run of run_all.sh's recipe `bot`.
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.applications.rlhf.budget import LAST
from korlhf.core import flags, program
from korlhf.models.folders import check_inputs


@dataclass(frozen=True, kw_only=True)
class TalkFlags:
    """talks"""

    base: str = flags.flag(flags.REQUIRED, "the model as it was before step 1: a folder or a hub name")
    output_dir: str = flags.flag(
        flags.REQUIRED, "folder of the run, with sft/ and ppo/, grpo/ or the like", output="folder"
    )
    talk_data_path: list[str] = flags.flag(["sample/talk_prompts"], "prompts whose answers are printed, all of them")
    data_path: list[str] = flags.flag(["sample/heldout_prompts"], "held-out prompts of the figures")
    answers_data_path: list[str] = flags.flag(
        ["sample/heldout_reward"], "held-out answers whose perplexity is measured"
    )
    max_prompts: int = flags.flag(48, "so many of each of the two are drawn; 0 = all", low=0)
    max_new_tokens: int = flags.flag(64, "longest answer in tokens", above=0)
    temperature: float = flags.flag(0.7, "sampling temperature; 0 = greedy", low=0)
    top_p: float = flags.flag(0.9, "nucleus sampling; 1 = off", above=0, high=1)
    batch_size: int = flags.flag(16, "prompts answered at once", above=0)
    trust_remote_code: bool = flags.flag(False, "run Python code that comes with a hub model")
    seed: int = flags.seed_flag("seed of the draws and of the sampler")


def main(argv=None):
    (args,) = flags.parse(argv, "What a model says before and after its training", TalkFlags)
    models = {"base": args.base, "sft": f"{args.output_dir}/sft"}
    last = {name: f"{args.output_dir}/{name}" for name in LAST}
    models |= {name: folder for name, folder in last.items() if (Path(folder) / "finished.json").exists()}
    if not last.keys() & models.keys():
        print(f"{args.output_dir}: no model after SFT yet ({', '.join(LAST)}); base and SFT alone are asked")
    named = [(f"--{'base' if name == 'base' else 'output_dir'}", path) for name, path in models.items()]
    check_inputs([*args.talk_data_path, *args.data_path, *args.answers_data_path], named)
    with program.slow_imports():
        from korlhf.applications.rlhf import talks

    talks.run(args, models)


if __name__ == "__main__":
    program.run(main, "stopped; the same command starts over")

"""A model folder made of a resumable checkpoint of step 1, 2 or 3, for chat, evaluation, export or a next step.

python training/checkpoint_to_model.py output/sft/checkpoints/step_000200 --output_dir output/sft_200
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.flags import flag


@dataclass(frozen=True, kw_only=True)
class CheckpointFlags:
    """checkpoint"""

    output_dir: str = flag(flags.REQUIRED, "new or empty folder of the model", output="folder")
    model: str = flag(
        "",
        "which model of the checkpoint; not given = the one that the training is for",
        choices=["", "actor", "critic", "reward", "ema"],
    )


def parse(argv=None):
    parser = flags.Parser(description="Make a model folder of a resumable checkpoint")
    parser.add_argument("checkpoint", help="OUTPUT_DIR/checkpoints/step_N of a training")
    flags.add(parser, CheckpointFlags)
    return parser.parse_args(argv)


def main():
    args = parse()
    output = Path(args.output_dir).expanduser()
    if output.is_dir() and any(output.iterdir()):
        raise InputError(f"--output_dir {args.output_dir}: is not empty; give a new folder")
    with program.slow_imports():
        from korlhf.training import checkpoint

    name = checkpoint.to_model(Path(args.checkpoint).expanduser(), output, args.model)
    print(f"wrote the {name} of {args.checkpoint} to {args.output_dir}")


if __name__ == "__main__":
    program.run(main)

"""From raw corpora to the report in one command: the plan is printed first, what is up to date is skipped, and what was stopped goes on.

The stages are the scripts of data_prep, of the three steps and of eval (korlhf/pipeline/recipes.py). Left out: several stages at once,
since each takes the whole machine.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from korlhf.core import flags
from korlhf.core.program import run as run_program
from korlhf.pipeline import needs, parts, recipes, run, state

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class PipelineFlags:
    """pipeline"""

    recipe: str = flags.flag(
        "sample", "where the data come from: sample (miniature corpora, tiny model), or v1, v2, v3 of data_prep"
    )
    model: str = flags.flag(
        "polyglot-ko-1.3b", "model of v1, v2 and v3: polyglot-ko-1.3b, -5.8b, -12.8b, kullm-5.8b or kullm-12.8b"
    )
    run_dir: str = flags.flag(flags.REQUIRED, "folder of the run: data, models, logs, results and report")
    dry_run: bool = flags.flag(False, "print the plan with the commands and start nothing")
    to: str = flags.flag("", "stop after this stage")
    only: str = flags.flag("", "run this one stage, also if it is up to date, and no other")
    set: list[str] = flags.flag(
        [],
        "settings of single stages, STAGE.NAME=VALUE with the names at the top of its script; "
        "STAGE.FLAGS='--flag value': flags for the program of a training",
        metavar="STAGE.NAME=VALUE",
        action="extend",
    )


def parse(argv=None):
    parser = flags.Parser(description="Corpora -> data_prep -> steps 1, 2, 3 -> evaluations -> report")
    flags.add(parser, PipelineFlags)
    parser.add_argument(
        "--from",
        dest="first",
        default="",
        metavar="STAGE",
        help="run this stage and all after it again; those before stay as they are",
    )
    space = parser.parse_args(argv)
    return flags.read(space, PipelineFlags), space.first


def main(argv=None):
    args, first = parse(argv)
    changes = recipes.read_changes(args.set)
    environ = dict(os.environ)
    folder = Path(args.run_dir).expanduser().absolute()
    model = "" if args.recipe == "sample" else args.model
    gpus = tuple(needs.gpus(environ))
    stages = recipes.build(parts.Wanted(args.recipe, model, folder, ROOT, environ, changes, gpus))
    choice = state.Choice(first, args.to, args.only)
    run.check_choice(choice, [s.name for s in stages])
    notes = recipes.unheard(stages, environ)
    if model and not gpus:
        notes.append("no NVIDIA GPU is visible on this machine")
    pipeline = run.Pipeline(stages, folder, ROOT, {"recipe": args.recipe, "model": model}, environ, notes)
    return run.dry_run(pipeline, choice) if args.dry_run else run.run(pipeline, choice)


if __name__ == "__main__":
    run_program(main)

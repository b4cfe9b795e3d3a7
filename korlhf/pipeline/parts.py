"""What the recipes share: the user's wishes, and the stages that every recipe has: a training, the evaluations."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from korlhf.pipeline import estimates, needs
from korlhf.pipeline.stages import Need, Stage, effective

STEPS = {1: "step1_supervised_finetuning", 2: "step2_reward_model_finetuning", 3: "step3_rlhf_finetuning"}
SPLITS = {1: "10,0,0", 2: "0,10,0", 3: "0,0,10"}  # data_prep has split already
SIDES = ("train", "test")
LAUNCH = "training/launch.sh"
DATA_PROGRAMS = ("collect", "translate", "self_instruct", "evol_instruct", "audit", "split", "respond", "score", "rank")
EVAL_DISK = 20_000_000  # bytes: answers, scores, verdicts, cache and report of some hundred prompts


@dataclass(frozen=True)
class Wanted:
    """What the user asked for. run, root: absolute folders; environ: the environment; changes: {stage: {setting: value}}; gpus: names."""

    recipe: str
    model: str
    run: Path
    root: Path
    environ: dict
    changes: dict
    gpus: tuple

    def given(self, stage, **settings):
        """What a stage is given: the recipe's settings, the seed, and the user's changes."""
        return {
            "SEED": self.environ.get("SEED") or "1234",
            **{k: str(v) for k, v in settings.items()},
            **self.changes.get(stage, {}),
        }

    def script(self, step, name):
        return self.root / "training" / STEPS[step] / "training_scripts" / name

    def data(self, kind):
        """The two files that data_prep leaves for a step: sft, reward or prompts."""
        return [self.run / "data" / f"{kind}_{side}.jsonl" for side in SIDES]

    @property
    def element(self):
        """Bytes of a weight as trainings save it: bf16 on a GPU, else fp32."""
        return 2 if self.gpus else 4


def bash(script, *words):
    """The command line of a script; an empty word keeps the script's own default."""
    return " ".join(["bash", shlex.quote(str(script)), *(shlex.quote(str(w)) for w in words)])


def paths(text):
    """The existing or absolute paths among the words of a setting like DATA_PATH; launch.sh splits it in the same way."""
    whole = Path(text).expanduser()
    found = [text] if text and whole.exists() else text.split("\n") if "\n" in text.strip() else text.split()
    return [Path(word).expanduser() for word in found if Path(word).is_absolute() or Path(word).expanduser().exists()]


def training(wanted, name, title, step, script, *, models=(), kind="", reads=(), folder=None, **settings):
    """A stage of step 1, 2 or 3 that writes RUN/`name` (or `folder`).

    models: step 3: actor and critic; kind: of the data (see Wanted.data), "" for what the script takes by itself; reads: further inputs;
    settings: fields of Stage, or variables for the script (in capitals).
    """
    folder = folder or wanted.run / name
    fields = {k: v for k, v in settings.items() if not k.isupper()}
    given = {k: v for k, v in settings.items() if k.isupper()}
    words = [*models, "", "", folder] if step == 3 else [folder]
    if kind:
        train, test = wanted.data(kind)
        given = {"DATA_PATH": train, "DATA_SPLIT": SPLITS[step], **given}
        words += ["--eval_data_path", test]
        other = wanted.changes.get(name, {}).get("DATA_PATH")
        reads = (*reads, test, *(paths(other) if other else [train]))
    return Stage(
        name=name,
        title=title,
        command=bash(wanted.script(step, script), *words),
        given=wanted.given(name, **given),
        reads=(*models, *reads),
        writes=(folder, folder / "finished.json"),
        scripts=(wanted.script(step, script), wanted.root / LAUNCH, wanted.root / "training" / STEPS[step] / "main.py"),
        reset="--overwrite_output_dir",
        begun=folder / "settings.json",
        **fields,
    )


def number(values, name, default=0.0):
    """A setting as a number, `default` if it is none."""
    try:
        return float(values.get(name, ""))
    except ValueError:
        return default


def examples(path, expected):
    """Lines of a file of training data, or what is expected if it is not there yet."""
    if not path.exists():
        return round(expected)
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def data_scripts(root, script):
    """The files of the project that a recipe of data_prep runs, the recipe first."""
    folder = root / "data_prep"
    return (
        script,
        folder / "recipe.sh",
        *(folder / f"{name}.py" for name in DATA_PROGRAMS),
        folder / "corrector.txt",
        folder / "mutations.yaml",
        *sorted((folder / "rubrics").glob("*.yaml")),
    )


def evaluation(wanted, **settings):
    """The last stage: what eval/ can tell about the models of the run, and the report."""
    run, script = wanted.run, wanted.root / "eval" / "run_all.sh"
    reward, prompts, sft = wanted.data("reward"), wanted.data("prompts"), wanted.data("sft")
    given = wanted.given(
        "eval",
        RUN=run,
        OUTPUT=run / "eval",
        REWARD_DATA=reward[1],
        REWARD_TRAIN_DATA=reward[0],
        DATA_PATH=prompts[1],
        HELDOUT_DATA=sft[1],
        **settings,
    )
    values = effective(script, given, KORLHF_ROOT=str(wanted.root))
    asks = ()
    if "kobest" in values.get("PARTS", "").split() and not values.get("KOBEST"):
        asks = (
            Need(
                "server",
                wanted.environ.get("HF_ENDPOINT") or needs.HUB,
                "KoBEST is downloaded from it; give a folder with --set eval.KOBEST=FOLDER, or leave it out of --set eval.PARTS",
            ),
        )
    return Stage(
        name="eval",
        title="evaluations and the report",
        command=bash(script),
        given=given,
        reads=(run / "sft", run / "reward", run / "ppo", *reward, prompts[1], sft[1]),
        writes=(run / "report.html", run / "eval"),
        scripts=(script, wanted.root / LAUNCH, *sorted((wanted.root / "eval").glob("*.py"))),
        needs=asks,
        loose=True,
        disk=(EVAL_DISK, 0),
    )


def disk_of_ppo(actor, critic, element):
    """actor, critic: (weights, trained weights). The actor is saved twice: as it ends, and as it scored best."""
    (a, a_trained), (c, c_trained) = actor, critic
    return (2 * a + c) * element, sum(
        estimates.training_disk(n, trained, element)[1] for n, trained in ((a, a_trained), (c, c_trained))
    )

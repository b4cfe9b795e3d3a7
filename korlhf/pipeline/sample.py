"""Recipe sample: the miniature corpora of samples/raw and a tiny model. No GPU, no network, no server but one on this machine."""

import shlex
from dataclasses import replace
from pathlib import Path

from korlhf.pipeline import estimates, parts
from korlhf.pipeline.estimates import Shape
from korlhf.pipeline.stages import Need, Stage, effective

SHAPE = Shape(192, 3, 4096)  # as samples/tiny_base.py makes it
DATA_DISK = 5_000_000  # bytes of data_prep's files, measured
TINY = "tiny/run_tiny.sh"
# Without a record of another run. base, answerer, judge, data and eval measured, the others by their shares of the same scripts' data.
SECONDS = {
    "init": 10,
    "base": 110,
    "answerer": 20,
    "judge": 50,
    "data": 80,
    "sft": 15,
    "reward": 20,
    "ppo": 50,
    "eval": 75,
}


def sample(wanted):
    """Stages: a tiny pretrained model; two more that answer and judge while the data are made (not if MODELS names a folder that has them);
    the data; steps 1 to 3; evaluations and report."""
    run, samples = wanted.run, wanted.root / "samples"
    base, disk = run / "base", estimates.training_disk(SHAPE.params, SHAPE.params, 4)
    tiny = shlex.quote(str(samples / "tiny_base.py"))
    init = Stage(
        name="init",
        title="a tiny model with random weights, and its tokenizer",
        command=f'python {tiny} --output_dir {shlex.quote(str(run / "base_init"))} --seed "$SEED"',
        given=wanted.given("init"),
        reads=(samples / "text.jsonl",),
        writes=(run / "base_init",),
        scripts=(samples / "tiny_base.py",),
        disk=(disk[0], 0),
    )
    stages = [
        init,
        parts.training(
            wanted,
            "base",
            "pretraining on the sample's plain text",
            1,
            "tiny/run_base.sh",
            MODEL=run / "base_init",
            reads=(run / "base_init", samples / "text.jsonl"),
            disk=disk,
        ),
    ]
    models = Path(wanted.environ.get("MODELS") or run / "teachers").expanduser().absolute()
    needs = ()
    if wanted.environ.get("MODELS"):
        needs = tuple(
            Need(
                "path",
                str(models / name / "finished.json"),
                "MODELS names a folder with finished sft/ and reward/; unset it, and they are trained here",
            )
            for name in ("sft", "reward")
        )
    else:
        stages += [
            parts.training(
                wanted,
                "answerer",
                "step 1 on the embedded sample: answers while the data are made",
                1,
                TINY,
                MODEL=base,
                reads=(base, samples / "sft.jsonl", samples / "heldout_sft.jsonl"),
                folder=models / "sft",
                disk=disk,
            ),
            parts.training(
                wanted,
                "judge",
                "step 2 on the embedded sample: judges while the data are made",
                2,
                TINY,
                MODEL=base,
                reads=(base, samples / "reward.jsonl", samples / "heldout_reward.jsonl"),
                folder=models / "reward",
                disk=disk,
            ),
        ]
    stages += [
        _data(wanted, models, needs),
        parts.training(
            wanted, "sft", "step 1: supervised fine-tuning", 1, TINY, kind="sft", MODEL=base, reads=(base,), disk=disk
        ),
        parts.training(
            wanted, "reward", "step 2: reward model", 2, TINY, kind="reward", MODEL=base, reads=(base,), disk=disk
        ),
        parts.training(
            wanted,
            "ppo",
            "step 3: PPO",
            3,
            TINY,
            models=(run / "sft", run / "reward"),
            kind="prompts",
            disk=parts.disk_of_ppo((SHAPE.params, SHAPE.params), (SHAPE.params, SHAPE.params), 4),
        ),
        parts.evaluation(wanted, KOBEST=samples / "kobest"),
    ]
    return [
        replace(s, seconds=None if s.name in wanted.changes else (SECONDS[s.name], "roughly, on 2 cores"))
        for s in stages
    ]


def _data(wanted, models, needs):
    script = wanted.root / "data_prep" / "run_sample.sh"
    out = wanted.run / "data"
    given = wanted.given("data", OUT=out, MODELS=models)
    values = effective(script, {**wanted.environ, **given}, KORLHF_ROOT=str(wanted.root))
    port = Need("port", values["PORT"], "the server of recorded replies listens there; set PORT to another")
    return Stage(
        name="data",
        title="data_prep: raw corpora to training sets",
        command=parts.bash(script),
        given=given,
        own_settings=False,
        reads=(models / "sft", models / "reward", Path(values["RAW"]).absolute()),
        writes=(*wanted.data("sft"), *wanted.data("reward"), *wanted.data("prompts"), out / "audit" / "audit.html"),
        scripts=(*parts.data_scripts(wanted.root, script), wanted.root / "samples" / "raw" / "server.py"),
        needs=(*needs, port),
        disk=(DATA_DISK, 0),
    )

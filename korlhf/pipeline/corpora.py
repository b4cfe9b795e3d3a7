"""Recipes v1, v2 and v3: real corpora, Polyglot-Ko or KULLM.

The SFT model must answer the reward prompts. So data_prep runs up to its split, step 1 is trained, and data_prep runs again to its end:
what is done is in its cache. In v2 and v3 it stops once more, for people to label.
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.pipeline import estimates, parts
from korlhf.pipeline.estimates import Shape
from korlhf.pipeline.needs import HUB_NAME, OPENAI
from korlhf.pipeline.stages import Need, Stage, effective

SHAPES = {"1.3b": Shape(2048, 24), "5.8b": Shape(4096, 28), "12.8b": Shape(5120, 40)}
TOPICS = 23  # of NIKL's everyday talk, each with PER_TOPIC prompts
SECOND_HALF = {
    "JUDGE",
    "CHATGPT",
    "TEMPERATURE",
    "THRESHOLD",
    "MIN_MARGIN",
    "SFT_MODEL",
}  # settings of what comes after the split
LABELLING = {"v2": "everyday and harmful", "v3": "everyday"}
ASK = "data_prep/README.md says where to ask for it"


@dataclass(frozen=True)
class Model:
    """Script of steps 1 and 3 below training_scripts/, base model as it has it, and its size. The reward model has the size that the script
    of step 3 expects: for the largest models a smaller one."""

    script: str
    base: str
    size: str
    reward_size: str


MODELS = {
    "polyglot-ko-1.3b": Model("polyglot_ko/run_1.3b.sh", "EleutherAI/polyglot-ko-1.3b", "1.3b", "1.3b"),
    "polyglot-ko-5.8b": Model("polyglot_ko/run_5.8b_lora.sh", "EleutherAI/polyglot-ko-5.8b", "5.8b", "5.8b"),
    "polyglot-ko-12.8b": Model("polyglot_ko/run_12.8b_lora.sh", "EleutherAI/polyglot-ko-12.8b", "12.8b", "5.8b"),
    "kullm-5.8b": Model("kullm/run_5.8b_lora.sh", "nlpai-lab/kullm-polyglot-5.8b-v2", "5.8b", "1.3b"),
    "kullm-12.8b": Model("kullm/run_12.8b_lora.sh", "nlpai-lab/kullm-polyglot-12.8b-v2", "12.8b", "5.8b"),
}


def corpora(wanted):
    """The stages. Raises InputError for a MODEL that is not known."""
    if wanted.model not in MODELS:
        raise InputError(f"MODEL={wanted.model}: no such model; there are {', '.join(MODELS)}")
    model = MODELS[wanted.model]
    script = wanted.root / "data_prep" / f"run_{wanted.recipe}.sh"
    values = effective(script, {**wanted.environ, **wanted.changes.get("data", {})}, KORLHF_ROOT=str(wanted.root))
    prompts = _prompts(values)
    return [
        _collect(wanted, script, values, prompts),
        _step1(wanted, model, prompts),
        *_pairs(wanted, script, values),
        _step2(wanted, model, prompts),
        _step3(wanted, model),
        parts.evaluation(wanted),
    ]


def _prompts(values):
    """How many prompts a recipe collects at most."""
    counts = {
        "NIKL": parts.number(values, "PER_TOPIC") * TOPICS,
        "AIHUB": parts.number(values, "HARMFUL"),
        "ENGLISH": parts.number(values, "TRANSLATED"),
        "EVOL": parts.number(values, "EVOL_LIMIT"),
        "SEEDS": parts.number(values, "SELF_INSTRUCT") * (1 + parts.number(values, "EVOLVE")),
    }
    return sum(n for corpus, n in counts.items() if values[corpus])


def _servers(values, wanted, *names):
    """Needs of the servers that the settings `names` mean."""
    urls = {}
    for name in names:
        who = values.get(name, "")
        if who.startswith("openai:"):
            urls.setdefault(who.partition("@")[2] or values.get("BASE_URL") or OPENAI, []).append(name)
    who = {url: ", ".join(f"{name} is {values[name]}" for name in asked) for url, asked in urls.items()}
    return [
        Need("server", url, f"{who[url]}: export your key or start the server, or set BASE_URL to another")
        for url in urls
    ]


def _collect(wanted, script, values, prompts):
    needs, reads = [], []
    for name in ("NIKL", "AIHUB", "ENGLISH", "EVOL", "SEEDS"):
        for path in filter(None, values[name].split("\n")):
            needs.append(Need("path", path, f"set {name} to where it is ({ASK}), or {name}= to go without it"))
            reads.append(Path(path).expanduser().absolute())
    asked = [
        n for n, corpus in (("TRANSLATOR", "ENGLISH"), ("CORRECTOR", "AIHUB"), ("GENERATOR", "SEEDS")) if values[corpus]
    ]
    out = wanted.run / "data"
    given = wanted.given(
        "data", OUT=out, SFT_MODEL=out / "not trained yet", **({"LABELS": ""} if wanted.recipe in LABELLING else {})
    )
    return Stage(
        name="data",
        title="data_prep, first half: up to the split (what it says to do then, the next stages do)",
        command=parts.bash(script),
        given=given,
        own_settings=False,
        free=frozenset(SECOND_HALF),
        reads=tuple(reads),
        writes=(
            *wanted.data("sft"),
            *wanted.data("prompts"),
            *(out / "parts" / f"reward_{side}.jsonl" for side in parts.SIDES),
        ),
        scripts=parts.data_scripts(wanted.root, script),
        needs=(*needs, *_servers(values, wanted, *asked)),
        disk=(prompts * estimates.PER_PROMPT, 0),
    )


def _pairs(wanted, script, values):
    """The rest of data_prep, in v2 and v3 in two stages: the answers, and what people say to them."""
    out, sft, by_people = wanted.run / "data", wanted.run / "sft", wanted.recipe in LABELLING
    servers = _servers(values, wanted, "CHATGPT" if by_people else "JUDGE")
    parts_of = tuple(out / "parts" / f"reward_{side}.jsonl" for side in parts.SIDES)
    answered = tuple(out / "answered" / f"reward_{side}.jsonl" for side in parts.SIDES)
    shared = {"command": parts.bash(script), "own_settings": False, "scripts": parts.data_scripts(wanted.root, script)}
    base = {"OUT": out, "SFT_MODEL": sft}
    writes = (*wanted.data("reward"), out / "audit" / "audit.html")
    title = "data_prep, second half: pairs for step 2"
    changes = wanted.changes.get("data", {})  # it is the same script: what it is told there holds here
    if not by_people:
        return [
            Stage(
                name="pairs",
                title=title,
                given=wanted.given("pairs", **base, **changes),
                reads=(sft, *parts_of),
                writes=writes,
                needs=tuple(servers),
                disk=(0, 0),
                **shared,
            )
        ]
    labels = [line for line in wanted.environ.get("LABELS", "").split("\n") if line]
    how = (
        f"people must choose for {LABELLING[wanted.recipe]} prompts; {wanted.run / 'logs' / 'answers.log'} ends with how to label the "
        "answers. Then start again with LABELS=FILE"
    )
    needs = tuple(Need("labels", line, "set LABELS to files of human labels, one a line") for line in labels) or (
        Need("labels", "", how),
    )
    return [
        Stage(
            name="answers",
            title="data_prep: both models answer the prompts of step 2",
            given=wanted.given("answers", **base, LABELS="", **changes),
            reads=(sft, *parts_of),
            writes=answered,
            needs=tuple(servers),
            disk=(0, 0),
            **shared,
        ),
        Stage(
            name="pairs",
            title=title,
            given=wanted.given("pairs", **base, **changes),
            reads=(sft, *parts_of, *answered, *(Path(line).expanduser().absolute() for line in labels)),
            writes=writes,
            needs=needs,
            disk=(0, 0),
            **shared,
        ),
    ]


def _base(wanted, variable, default):
    """(base model, needs, folders to read) of one training."""
    base = wanted.environ.get(variable) or default
    is_folder = Path(base).expanduser().exists() or not HUB_NAME.fullmatch(base)
    needs = (Need("model", base, f"set {variable} to a model folder"),)
    return base, needs, (Path(base).expanduser().absolute(),) if is_folder else ()


def _weights(base, size):
    return estimates.weights_in(base) or SHAPES[size].params


def _rank(values, name="LORA_DIM"):
    return int(parts.number(values, name))


def _trained(params, size, rank):
    return SHAPES[size].lora(rank) if rank else params


def _values(wanted, stage, script):
    return effective(script, wanted.changes.get(stage, {}), KORLHF_ROOT=str(wanted.root))


def _step1(wanted, model, prompts):
    base, needs, reads = _base(wanted, "BASE", model.base)
    values = _values(wanted, "sft", wanted.script(1, model.script))
    params, rank = _weights(base, model.size), _rank(values)
    n = examples_of(wanted, "sft", prompts, 0)
    epochs = int(parts.number(values, "EPOCHS", 1))
    seconds = estimates.training_seconds(n, epochs, estimates.TOKENS, params, rank, wanted.gpus, "sft")
    disk = estimates.training_disk(params, _trained(params, model.size, rank), wanted.element)
    return parts.training(
        wanted,
        "sft",
        "step 1: supervised fine-tuning",
        1,
        model.script,
        kind="sft",
        reads=reads,
        needs=needs,
        MODEL=base,
        disk=disk,
        seconds=seconds,
    )


def _step2(wanted, model, prompts):
    script = f"polyglot_ko/run_{wanted.recipe}.sh"
    base, needs, reads = _base(wanted, "REWARD_BASE", f"EleutherAI/polyglot-ko-{model.reward_size}")
    values = _values(wanted, "reward", wanted.script(2, script))
    params, rank = _weights(base, model.reward_size), _rank(values)
    n = examples_of(wanted, "reward", prompts, 1)
    epochs = int(parts.number(values, "EPOCHS", 1))
    seconds = estimates.training_seconds(n, epochs, 2 * estimates.TOKENS, params, rank, wanted.gpus, "reward")
    disk = estimates.training_disk(params, _trained(params, model.reward_size, rank), wanted.element)
    return parts.training(
        wanted,
        "reward",
        "step 2: reward model",
        2,
        script,
        kind="reward",
        reads=reads,
        needs=needs,
        MODEL=base,
        disk=disk,
        seconds=seconds,
    )


def _step3(wanted, model):
    values = _values(wanted, "ppo", wanted.script(3, model.script))
    sizes = ((model.size, "BASE", "ACTOR_LORA_DIM"), (model.reward_size, "REWARD_BASE", "CRITIC_LORA_DIM"))
    both = []
    for size, variable, rank in sizes:
        params = _weights(wanted.environ.get(variable) or "", size)
        both.append((params, _trained(params, size, _rank(values, rank))))
    return parts.training(
        wanted,
        "ppo",
        "step 3: PPO",
        3,
        model.script,
        models=(wanted.run / "sft", wanted.run / "reward"),
        kind="prompts",
        disk=parts.disk_of_ppo(*both, wanted.element),
    )


def examples_of(wanted, kind, prompts, place):
    """Training examples of a step: lines of its file, or its share of the prompts until that is there."""
    values = effective(wanted.root / "data_prep" / f"run_{wanted.recipe}.sh", wanted.environ)
    shares = [float(s) for s in values["SHARES"].split(",")]
    expected = prompts * shares[place] / sum(shares) * (1 - parts.number(values, "TEST_SHARE"))
    return parts.examples(wanted.data(kind)[0], expected)

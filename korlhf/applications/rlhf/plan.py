"""The settings of a real model's three steps: LoRA on the sample and on what the user brings, as much as fits."""

import time
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from korlhf.applications.rlhf import budget, speed
from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.data.load import load_examples
from korlhf.data.tokenize import Codec, prompt_tokens, reward_tokens, sft_tokens
from korlhf.models.causal_lm import TokenLogps, load_causal_lm
from korlhf.models.lora import add_lora
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training.flags import ModelFlags
from korlhf.training.world import DTYPES, World, resolve_dtype

MAX_SEQ_LEN, MAX_PROMPT, MAX_ANSWER = 192, 128, 64  # tokens
MEASURED = 200  # examples of each step whose mean length stands for all
LORA = {"lora_dim": 32, "lora_module_name": "all-linear"}
# The sample's data of each step, and what it is evaluated on. Step 1 reads the best answer of a ranking.
DATA = {1: ["sample/best", "sample/reward"], 2: ["sample/reward"], 3: ["sample/prompts"]}
HELD_OUT = {1: "sample/heldout_reward", 2: "sample/heldout_reward", 3: "sample/heldout_prompts"}
STEPS = {"sft": 1, "reward": 2, **dict.fromkeys(budget.LAST, 3), "dpo": 2}  # whose data a training reads
RATES = {"sft": "3e-4", "reward": "3e-4", "actor": "1e-4", "critic": "3e-4", "dpo": "1e-4"}  # of LoRA, peak
HEAD_RATE = "1e-4"  # of the new head of reward model and critic, the only weights that are trained besides


def datasets(own: list[str]) -> dict[int, list[str]]:
    """The names of each step, 1 to 3: the sample's, and those of `own` that can train it.

    Raises InputError for one that can train none.
    """
    names = {step: list(sample) for step, sample in DATA.items()}
    for path in own:
        problems = {}
        for step in names:
            try:
                load_examples(path, step)
                names[step].append(path)
            except InputError as error:
                problems[step] = error
        if len(problems) == len(names):
            raise problems[1]
    return names


def run(args, asked: dict, began: float) -> None:
    """Measure, choose, write, tell. asked: of which these are the settings; began: when the program was started, as
    time.perf_counter() has it.
    """
    names, device = datasets(args.data_path), World.alone().device
    dtype = resolve_dtype("auto", device)
    template, tokenizer = with_template(args.model_name_or_path, args.trust_remote_code)
    codec = Codec(tokenizer)
    examples = {step: [e for name in found for e in load_examples(name, step)] for step, found in names.items()}
    rows = sft_tokens(codec, some(examples[1]), MAX_SEQ_LEN)[1]
    rankings = reward_tokens(codec, some(examples[2]), MAX_SEQ_LEN)[1]
    prompts = prompt_tokens(codec, some(examples[3]), MAX_PROMPT)[1]
    torch.manual_seed(args.seed)
    how = {"dtype": DTYPES[dtype], "trust_remote_code": args.trust_remote_code}
    lm = load_causal_lm(args.model_name_or_path, tokenizer, **how).to(device)
    lora = ModelFlags(model_name_or_path=args.model_name_or_path, **LORA)
    module = TokenLogps(add_lora(lm, lora, "CAUSAL_LM")).to(device)
    start = time.perf_counter() - began
    measured = budget.Speed(start, *speed.measure(module, rows, rankings, prompts, MAX_ANSWER))
    counts = budget.steps(measured, args.minutes, {name: len(examples[step]) for name, step in STEPS.items()})
    flags = {name: words(name, names[step], template, counts[name]) for name, step in STEPS.items()}
    write(args, asked, flags, counts, measured)
    tell(args, counts, measured)


def with_template(path: str, trust_remote_code: bool) -> tuple[str, PreTrainedTokenizerBase]:
    """(--prompt_template, tokenizer): the model's own template; if it has none, as a base model, the shorter of ours,
    which costs a row of Gemma 28 tokens less than the other.
    """
    try:
        return "auto", load_tokenizer(path, "chat", trust_remote_code)
    except InputError:  # another defect comes again
        return "human_assistant", load_tokenizer(path, "human_assistant", trust_remote_code)


def some(examples):
    """Those whose lengths are measured, spread over all."""
    return examples[:: max(1, len(examples) // MEASURED)]


def words(name: str, names: list[str], template: str, count: int) -> list[str]:
    """The flags of one training's main.py."""
    step = STEPS[name]
    shares = ",".join("1" if other == step else "0" for other in DATA)
    chosen = {
        "max_steps": count,
        "num_train_epochs": budget.EPOCHS,
        "num_warmup_steps": max(1, count // 10),
        "max_eval_examples": budget.EVALUATED[name],
        "eval_interval": 0,
        "save_steps": max(1, count // 5),
    }
    models, batch = ("",), budget.BATCH[name]
    if step == 3:
        models = ("actor_", "critic_") if name == "ppo" else ("actor_",)
        chosen |= {f"per_device_{kind}_batch_size": batch for kind in ("generation", "training")}
        chosen |= {"max_prompt_seq_len": MAX_PROMPT, "max_answer_seq_len": MAX_ANSWER, "kl_coef": 0.05}
    else:
        chosen |= {f"per_device_{kind}_batch_size": batch for kind in ("train", "eval")}
        chosen |= {"max_seq_len": MAX_SEQ_LEN, "prompt_template": template if name == "sft" else "auto"}
    chosen |= {"gradient_accumulation_steps": 1}
    for model in models:
        chosen |= {f"{model}{key}": value for key, value in LORA.items()}
        chosen |= {f"{model}lora_learning_rate": RATES[model.rstrip("_") or name], f"{model}zero_stage": 0}
        chosen |= {f"{model}learning_rate": HEAD_RATE}
    found = ["--data_path", *names, "--data_split", shares, "--eval_data_path", HELD_OUT[step]]
    return found + [word for key, value in chosen.items() for word in (f"--{key}", str(value))]


def write(args, asked, flags, counts, measured):
    """The files of flags, then budget.json."""
    folder = Path(args.output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_step in flags.items():
        lines = of_step + ["--trust_remote_code"] * args.trust_remote_code
        (folder / f"{name}.flags").write_text("\n".join(lines) + "\n", encoding="utf-8")
    figures = {"asked": asked, "seconds_measured": asdict(measured), "steps": counts}
    expected = budget.seconds(measured, counts)
    write_json(folder / "budget.json", {**figures, "seconds_expected": expected, "versions": program.versions()})


def tell(args, counts, measured):
    expected = budget.seconds(measured, counts)
    for name, count in counts.items():
        trained = count * budget.BATCH[name]
        print(f"{name:<9} {count:5} steps of {budget.BATCH[name]:3} = {trained:6}, {expected[name] / 60:5.1f} minutes")
    total = budget.together(expected) / 60
    last = f"with the longest of {', '.join(budget.LAST)}"
    print(f"rest {expected['rest'] / 60:31.1f} minutes\ntogether {total:.0f} of {args.minutes:g} minutes, {last}")

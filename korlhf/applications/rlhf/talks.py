"""One model before SFT, after SFT and after PPO or the like: answers to fixed prompts, and figures on held-out ones."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from korlhf.applications.rlhf import talks_page
from korlhf.applications.rlhf.budget import SHARES
from korlhf.core import program
from korlhf.core.ai_mark import mark_now
from korlhf.core.files import read_json, write_json
from korlhf.core.stats import mean_interval, ratio_interval, wilson
from korlhf.data.load import load_examples
from korlhf.data.tokenize import Codec, Tokens, sft_tokens
from korlhf.korean import friendly
from korlhf.models.causal_lm import TokenLogps, load_causal_lm
from korlhf.models.tokenizer import load_tokenizer, shown_template
from korlhf.rl import prompt_eval
from korlhf.rl.flags import EvalFlags
from korlhf.training.sft import token_logps
from korlhf.training.world import DTYPES, World, resolve_dtype

MAX_SEQ_LEN = 256
# the flags of step 3, and of steps 1 and 2
BATCH = ("per_device_generation_batch_size", "per_device_train_batch_size")
RATE = ("actor_lora_learning_rate", "lora_learning_rate")


def run(args: Any, models: dict[str, str]) -> None:
    """Ask, measure, write. models: "base", "sft", and names of LAST -> folder or hub name; all are written to as
    sft is, for a base model has no template, and its own would be another question.
    """
    device = World.alone().device
    dtype = resolve_dtype("auto", device)
    tokenizer = load_tokenizer(models["sft"], "auto", args.trust_remote_code, "--output_dir")
    codec = Codec(tokenizer)
    flags = EvalFlags(
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        per_device_eval_batch_size=args.batch_size,
        trust_remote_code=args.trust_remote_code,
        seed=args.seed,
    )
    shown, asked = _prompts(args.talk_data_path, 0, args.seed), _prompts(args.data_path, args.max_prompts, args.seed)
    examples = _draw(
        [e for name in args.answers_data_path for e in load_examples(name, 1)], args.max_prompts, args.seed
    )
    rows = sft_tokens(codec, examples, MAX_SEQ_LEN)[1]
    ids = [codec.prompt(messages).ids for messages, _ in [*shown, *asked]]
    talks = [{"category": category, "messages": list(messages), "answers": {}} for messages, category in shown]
    result: dict[str, Any] = {
        "template": shown_template(tokenizer),
        "sampling": {"temperature": args.temperature, "top_p": args.top_p, "max_new_tokens": args.max_new_tokens},
        "seed": args.seed,
        "dtype": dtype,
        "models": {},
        "talks": talks,
        "training": training(Path(args.output_dir)),
        "versions": program.versions(),
    }
    for name, path in models.items():
        named = prompt_eval.Named(name, path, "--base" if name == "base" else "--output_dir")
        answers = [several[0] for several in prompt_eval.answers_of(named, codec, ids, flags, device, dtype)]
        for talk, answer in zip(talks, answers):
            talk["answers"][name] = answer
        lm = load_causal_lm(path, tokenizer, named.flag, dtype=DTYPES[dtype], trust_remote_code=args.trust_remote_code)
        perplexity = held_out(TokenLogps(lm.to(device)).eval(), rows)
        result["models"][name] = {"model": Path(path).name, **figures(answers[len(shown) :]), "perplexity": perplexity}
    write(result, Path(args.output_dir))


def _prompts(names: Sequence[str], most: int, seed: int):
    return _draw(prompt_eval.load_prompts(EvalFlags(data_path=list(names), max_prompts=0)), most, seed)


def _draw(things: list, most: int, seed: int) -> list:
    if not 0 < most < len(things):
        return things
    return [things[i] for i in sorted(random.Random(seed).sample(range(len(things)), most))]


def figures(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of answers as prompt_eval has them: [share or mean, low, high] with 95 % intervals, tokens and n."""
    n, manners = len(answers), friendly.manners([a["text"] for a in answers])
    counts = {
        "ended": sum(a["ended"] for a in answers),
        "friendly": sum(m.friendly for m in manners),
        "sense": sum(m.sense for m in manners),
    }
    repeated = mean_interval([a["repetition"] for a in answers], bounds=(0.0, 1.0))
    return {
        "n": n,
        "tokens": sum(a["tokens"] for a in answers) / n,
        **{name: [count / n, *wilson(count, n)] for name, count in counts.items()},
        "repetition": [repeated.mean, repeated.low, repeated.high],
    }


@torch.no_grad()
def held_out(module: TokenLogps, rows: Sequence[Tokens]) -> dict[str, Any]:
    """Perplexity of the answers of `rows`: [value, low, high], 95 % over rows; and how many rows."""
    device = next(module.parameters()).device
    logps = [token_logps(module, [row], device).double() for row in rows]
    loss = ratio_interval([-float(of_row.sum()) for of_row in logps], list(map(len, logps)))
    return {"value": torch.tensor([loss.mean, loss.low, loss.high]).double().exp().tolist(), "n": len(rows)}


def training(run_dir: Path) -> dict[str, Any]:
    """What the trainings of a run noted: finished.json of each with its batch and rate, and their seconds."""
    found = {}
    for name in SHARES:
        folder = run_dir / name
        if (folder / "finished.json").exists():
            settings = read_json(folder / "settings.json") if (folder / "settings.json").exists() else {}
            batch, rate = (next((settings[k] for k in keys if k in settings), None) for keys in (BATCH, RATE))
            chosen = {"batch": batch, "rate": rate}
            found[name] = {**read_json(folder / "finished.json"), **chosen}
    if (run_dir / "stages.json").exists():
        found["seconds"] = read_json(run_dir / "stages.json")
    return found


def write(result: dict[str, Any], folder: Path) -> None:
    """talks.json, then the two pages that are made of it."""
    write_json(folder / "talks.json", {**mark_now(), **result})
    for language in talks_page.TEXTS:
        ending = "" if language == "en" else f".{language}"
        (folder / f"talks{ending}.md").write_text(talks_page.page(result, language), encoding="utf-8")
    print(talks_page.table(result, "ko"), f"written: {folder}/talks.md, talks.ko.md, talks.json", sep="\n\n")

"""Answers of several models to the same prompts, side by side.

Each model is written to with the template in its own folder, and prompt and answer number alone decide the random
stream, so two runs differ by the models only. Models are loaded, or served by vLLM, one after the other, on a GPU if
there is one.
"""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from korlhf.core import progress
from korlhf.core.ai_mark import NOTICE
from korlhf.core.errors import InputError
from korlhf.core.seeds import SAMPLE, derive
from korlhf.data.example import RowError, turns
from korlhf.data.load import load_step
from korlhf.data.ngrams import repetition
from korlhf.data.tokenize import Codec
from korlhf.korean import friendly
from korlhf.models.causal_lm import config_of, load_causal_lm
from korlhf.models.folders import check_folder
from korlhf.models.reward_model import has_head
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout
from korlhf.rl.flags import EvalFlags
from korlhf.training.world import DTYPES


@dataclass(frozen=True)
class Named:
    """A model and how it is called: "baseline", "finetune", or its folder's own name if no other has it."""

    name: str
    path: str
    flag: str


def named_models(flags: EvalFlags) -> list[Named]:
    """The models of the flags in their order. Raises InputError if one is named twice."""
    named = [
        Named("baseline", flags.model_name_or_path_baseline, "--model_name_or_path_baseline"),
        Named("finetune", flags.model_name_or_path_finetune, "--model_name_or_path_finetune"),
    ]
    last = [Path(p).name for p in flags.model_name_or_path]
    for path, name in zip(flags.model_name_or_path, last):
        taken = last.count(name) > 1 or name in ("baseline", "finetune")
        named.append(Named(path if taken else name, path, "--model_name_or_path"))
    named = [m for m in named if m.path]
    if len({m.name for m in named}) < len(named):
        paths = " ".join(flags.model_name_or_path)
        raise InputError(f"--model_name_or_path {paths}: the same model twice; name each once")
    return named


def load_prompts(flags: EvalFlags) -> list[tuple[tuple[dict, ...], str]]:
    """(messages, category) of --prompt, then of --data_path: a dataset's evaluation split if it has one, each prompt
    once.
    """
    try:
        prompts = [(tuple(turns(p)), "all") for p in flags.prompt]
    except RowError as error:
        raise InputError(f"--prompt: {error}") from error
    of_data = []
    for name in flags.data_path:
        everything, own = load_step(3, [name], "0,0,1", eval_share=0.0)
        of_data += [(e.messages, e.category) for e in own or everything]
    if 0 < flags.max_prompts < len(of_data):
        chosen = random.Random(flags.seed).sample(range(len(of_data)), flags.max_prompts)
        of_data = [of_data[i] for i in sorted(chosen)]
    return prompts + of_data


def load_codecs(models: Sequence[Named], flags: EvalFlags) -> list[Codec]:
    """A Codec of each model; refuses reward models before anything slow is done."""
    codecs = []
    for m in models:
        check_folder(m.path, m.flag)
        if Path(m.path, "config.json").exists() and has_head(m.path):
            raise InputError(
                f"{m.flag} {m.path}: a reward model, which writes no answers; give a folder of step 1 or 3 "
                "(or score answers with step 2's rw_eval.py)"
            )
        codecs.append(Codec(load_tokenizer(m.path, flags.prompt_template, flags.trust_remote_code, m.flag)))
    return codecs


def answers_of(
    model: Named, codec: Codec, prompts: Sequence[list[int]], flags: EvalFlags, device: torch.device, dtype: str
) -> list[list[dict[str, Any]]]:
    """One model's answers to lists of prompt ids: for each prompt a list of {"text", "tokens", "ended", "repetition"}.

    dtype: "fp32", "bf16" or "fp16". The model's memory is free again afterwards, and its server has ended.
    """
    config = config_of(model.path, model.flag, flags.trust_remote_code)
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, prompts))
    if limit and longest + flags.max_new_tokens > limit:
        raise InputError(
            f"--max_new_tokens {flags.max_new_tokens}: with the longest prompt ({longest} tokens) that is "
            f"more than the {limit} positions of {model.flag} {model.path}; lower it, or --max_prompt_seq_len"
        )
    k = flags.num_return_sequences
    places = [(i, j) for i in sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i)) for j in range(k)]
    jobs = [(prompts[i], derive(flags.seed, i, j, stride=SAMPLE)) for i, j in places]
    if flags.rollout == "vllm":
        sampled = _by_server(model, codec, jobs, flags, dtype, limit)
    else:
        sampled = _here(model, codec, jobs, flags, device, dtype)
    answers: list[list[dict[str, Any]]] = [[{} for _ in range(k)] for _ in prompts]
    for (i, j), answer in zip(places, sampled):
        answers[i][j] = {
            "text": codec.decode(answer),
            "tokens": len(answer),
            "ended": answer[-1] == codec.eos_token_id,
            "repetition": repetition(answer),
        }
    return answers


def _limits(flags):
    return rollout.Limits(flags.max_new_tokens, flags.temperature, flags.top_p)


def _here(model, codec, jobs, flags, device, dtype):
    """Answer ids to pairs of prompt ids and seed."""
    how: dict[str, Any] = {"dtype": DTYPES[dtype], "trust_remote_code": flags.trust_remote_code}
    lm = load_causal_lm(model.path, codec.tokenizer, model.flag, **how).to(device)
    size, out = flags.per_device_eval_batch_size, []
    with progress.bar(total=len(jobs), desc=model.name, unit="answers") as bar:
        for at in range(0, len(jobs), size):
            prompts, seeds = zip(*jobs[at : at + size])
            out += rollout.sample(lm, prompts, seeds, codec.eos_token_id, _limits(flags), size)
            bar.update(len(prompts))
    return out


def _by_server(model, codec, jobs, flags, dtype, positions):
    from korlhf.rl.served import Finished, Served  # slow to import

    if flags.output:
        log = Path(f"{flags.output_stem}.vllm.log")
    else:
        log = Path(tempfile.mkdtemp(prefix="korlhf-")) / "vllm.log"
    prompts, seeds = zip(*jobs)
    with Served(
        flags, Finished(model.path, model.flag, codec, dtype, positions, flags.trust_remote_code), log
    ) as server:
        return server.sample(prompts, seeds, _limits(flags), model.name)


def means(answers: Sequence[Sequence[dict[str, Any]]]) -> dict[str, float]:
    """Means over all of a model's answers: tokens, share that ended by themselves, repeated 3-grams, shares that
    are friendly, make sense and speak politely; and their number.
    """
    every = [a for of_prompt in answers for a in of_prompt]
    n = len(every)
    by_name = {name: sum(a[name] for a in every) / n for name in ("tokens", "ended", "repetition")}
    return {"n": n, **by_name, **friendly.shares(friendly.manners([a["text"] for a in every]))}


def cell(text: str) -> str:
    """Text as one cell of a Markdown table: nothing in it can start another cell or row, or markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\")
    for mark in "|*_`[]":
        text = text.replace(mark, "\\" + mark)
    return "<br>".join(text.splitlines()) or " "


def markdown(result: dict[str, Any]) -> str:
    """The result as a Markdown document: what was done, the means, then one table per prompt with one column per
    model.
    """
    names = [m["name"] for m in result["models"]]
    lines = [
        "# Answers side by side",
        "",
        f"> {NOTICE['ko']} {NOTICE['en']}",
        "",
        f"Temperature {result['temperature']}, top-p {result['top_p']}, "
        f"at most {result['max_new_tokens']} tokens, seed {result['seed']}, {result['dtype']}.",
        "",
        "| | checkpoint | answers | tokens | ended | repeated 3-grams | friendly | sense | written to as |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for m in result["models"]:
        s = m["means"]
        shares = " | ".join(f"{s[name]:.2f}" for name in ("ended", "repetition", "friendly", "sense"))
        figures = f"{s['n']} | {s['tokens']:.1f} | {shares}"
        lines.append(f"| {cell(m['name'])} | {cell(m['path'])} | {figures} | {cell(m['template'])} |")
    for number, row in enumerate(result["prompts"], 1):
        lines += ["", f"## {number}", ""]
        for m in row["messages"]:
            context = f"<br>*{cell(m['input'])}*" if m.get("input") else ""
            lines.append(f"**{m['role']}** {cell(m['content'])}{context}  ")
        lines += ["", "| " + " | ".join(map(cell, names)) + " |", "|" + "---|" * len(names)]
        for answers in zip(*(row["answers"][n] for n in names)):
            lines.append("| " + " | ".join(cell(marked(a)) for a in answers) + " |")
    return "\n".join(lines) + "\n"


def marked(answer: dict[str, Any]) -> str:
    """The text of one of `answers_of`, with a mark if it was cut."""
    return answer["text"] + ("" if answer["ended"] else " […]")


def show(result: dict[str, Any]) -> None:
    """Print the answers for a terminal, prompt by prompt, then the means."""
    for number, row in enumerate(result["prompts"], 1):
        print(f"\n[{number}] {row['messages'][-1]['content']}")
        for m in result["models"]:
            for answer in row["answers"][m["name"]]:
                print(f"  {m['name']}: {marked(answer)}")
    print("\n([…]: cut at --max_new_tokens)")
    for m in result["models"]:
        s = m["means"]
        print(
            f"{m['name']}: {s['n']} answers, {s['tokens']:.1f} tokens, ended {s['ended']:.2f}, "
            f"repeated 3-grams {s['repetition']:.2f}, friendly {s['friendly']:.2f}, sense {s['sense']:.2f}"
        )

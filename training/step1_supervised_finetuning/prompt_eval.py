"""Answers of several models to the same prompts, side by side: a base and its fine-tuned model, or SFT, PPO and others.

Each model is written to with the template in its own folder, and prompt and answer number alone decide the random stream, so two runs
differ by the models only. Models are loaded one after the other, on a GPU if there is one.
Left out: beam search, contrastive search and top-k (a chatbot samples); scores of the answers (rw_eval.py of step 2).
"""

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.data import example as rows
from korlhf.data import load, tokenize
from korlhf.data.ngrams import repetition
from korlhf.korean import friendly
from korlhf.models import causal_lm as models
from korlhf.models import reward_model
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout
from korlhf.training import engine
from korlhf.training.flags import step_parser

REFUSED = {
    **dict.fromkeys(
        ["--num_beams", "--num_beam_groups", "--top_k", "--penalty_alpha"],
        "answers are sampled. Use --temperature (0 = greedy) and --top_p",
    ),
    "--language": "prompts come from --prompt or --data_path, in any language. Delete the flag",
}


@dataclass(frozen=True, kw_only=True)
class EvalFlags:
    """evaluation"""

    model_name_or_path_baseline: str = flags.flag("", "the model to compare with; a folder or a hub name")
    model_name_or_path_finetune: str = flags.flag("", "the fine-tuned model")
    model_name_or_path: list[str] = flags.flag([], "one or more further models")
    prompt: list[str] = flags.flag([], "prompts to answer")
    data_path: list[str] = flags.flag(
        [], "datasets whose prompts are answered, named as in training; of one that has an evaluation split, that split"
    )
    max_prompts: int = flags.flag(20, "at most this many prompts of --data_path, drawn at random; 0 = all")
    max_prompt_seq_len: int = flags.flag(
        256, "longest prompt in tokens of any of the models; longer ones are left out and counted"
    )
    max_new_tokens: int = flags.flag(100, "longest answer in tokens")
    temperature: float = flags.flag(0.0, "sampling temperature; 0 = greedy, always the likeliest token")
    top_p: float = flags.flag(1.0, "nucleus sampling; 1 = off")
    num_return_sequences: int = flags.flag(1, "answers a prompt; more than 1 needs a --temperature above 0")
    per_device_eval_batch_size: int = flags.flag(16, "prompts answered at once")
    output: str = flags.flag("", "write OUTPUT.md (the answers side by side) and OUTPUT.json")
    prompt_template: str = flags.flag(
        "auto",
        "how a conversation is written out; auto = the template in each model's folder, else kullm",
        choices=["auto", "kullm", "human_assistant", "chat"],
    )
    seed: int = flags.flag(1234, "seed of the draw of prompts and of the sampler")
    dtype: str = flags.flag(
        "auto", "precision; auto = bf16 where the hardware has it, else fp32", choices=["auto", "bf16", "fp16", "fp32"]
    )
    trust_remote_code: bool = flags.flag(False, "run Python code that comes with a hub model")


class Refuse(argparse.Action):
    """A flag of DeepSpeed-Chat's prompt_eval.py that has no counterpart here: says why and what to do."""

    def __call__(self, parser, namespace, values, option_string=None):
        parser.error(f"{option_string} was removed: {REFUSED[option_string]}.")


def parse(argv=None):
    parser = step_parser("Answers of several models to the same prompts, side by side")
    flags.add(parser, EvalFlags)
    for name in REFUSED:
        parser.add_argument(name, nargs="?", action=Refuse, help=argparse.SUPPRESS)
    args = flags.read(parser.parse_args(argv), EvalFlags)
    flags.check_positive(
        {
            k: getattr(args, k)
            for k in (
                "max_prompt_seq_len",
                "max_new_tokens",
                "top_p",
                "num_return_sequences",
                "per_device_eval_batch_size",
            )
        },
        parser,
    )
    if not named_models(args):
        parser.error(
            "no model: give --model_name_or_path_baseline and --model_name_or_path_finetune, or --model_name_or_path NAME ..."
        )
    if not args.prompt and not args.data_path:
        parser.error("no prompts: give --prompt or --data_path")
    if args.temperature < 0:
        parser.error(f"--temperature {args.temperature}: must be 0 (greedy) or above")
    if args.num_return_sequences > 1 and args.temperature == 0:
        parser.error(
            f"--num_return_sequences {args.num_return_sequences}: greedy answers are all the same; set --temperature, e.g. 0.7"
        )
    return args


def named_models(args):
    """(heading, path, flag) of each model. Headings are "baseline", "finetune", or a folder's own name if no other has it."""
    found = [
        ("baseline", args.model_name_or_path_baseline, "--model_name_or_path_baseline"),
        ("finetune", args.model_name_or_path_finetune, "--model_name_or_path_finetune"),
    ]
    last = [Path(p).name for p in args.model_name_or_path]
    for path, name in zip(args.model_name_or_path, last):
        found.append(
            (path if last.count(name) > 1 or name in ("baseline", "finetune") else name, path, "--model_name_or_path")
        )
    return [f for f in found if f[1]]


def load_prompts(args):
    """[(messages, category)] of --prompt, then of --data_path: a dataset's evaluation split if it has one, each prompt once."""
    try:
        prompts = [(tuple(rows.turns(p)), "all") for p in args.prompt]
    except rows.RowError as error:
        raise InputError(f"--prompt: {error}") from error
    found = []
    for name in args.data_path:
        everything, own = load.load_step(3, [name], "0,0,1", eval_share=0.0)
        found += [(e.messages, e.category) for e in own or everything]
    if 0 < args.max_prompts < len(found):
        found = [found[i] for i in sorted(random.Random(args.seed).sample(range(len(found)), args.max_prompts))]
    return prompts + found


def load_codecs(args):
    """A Codec of each model; refuses reward models before anything slow is done."""
    codecs = []
    for _, path, flag in named_models(args):
        models.check_folder(path, flag)
        if Path(path, "config.json").exists() and reward_model.has_head(path):
            raise InputError(
                f"{flag} {path}: a reward model, which writes no answers; give a folder of step 1 or 3 "
                "(or score answers with step 2's rw_eval.py)"
            )
        codecs.append(tokenize.Codec(load_tokenizer(path, args.prompt_template, args.trust_remote_code, flag)))
    return codecs


def answers_of(lm, codec, prompt_ids, args, name):
    """One model's answers: for each prompt a list of {"text", "tokens", "ended", "repetition"}, with a progress bar."""
    k = args.num_return_sequences
    jobs = [(i, j) for i in sorted(range(len(prompt_ids)), key=lambda i: (len(prompt_ids[i]), i)) for j in range(k)]
    found = [[None] * k for _ in prompt_ids]
    with tqdm(total=len(jobs), desc=name, unit="answer", dynamic_ncols=True, mininterval=1) as bar:
        for at in range(0, len(jobs), args.per_device_eval_batch_size):
            batch = jobs[at : at + args.per_device_eval_batch_size]
            seeds = [(args.seed * 1_000_003 + i) * 1009 + j for i, j in batch]
            ids = rollout.sample(
                lm,
                [prompt_ids[i] for i, _ in batch],
                codec.stop_id,
                args.max_new_tokens,
                seeds,
                len(batch),
                args.temperature,
                args.top_p,
            )
            for (i, j), answer in zip(batch, ids):
                found[i][j] = {
                    "text": codec.decode(answer),
                    "tokens": len(answer),
                    "ended": answer[-1] == codec.stop_id,
                    "repetition": repetition(answer),
                }
            bar.update(len(batch))
    return found


def run_model(args, named, codec, prompt_ids, device):
    """Load one model and let it answer; its memory is free again afterwards."""
    heading, path, flag = named
    lm = models.load_causal_lm(
        path,
        codec.tokenizer,
        flag,
        dtype=engine.DTYPES[engine.resolve_dtype(args.dtype, device)],
        trust_remote_code=args.trust_remote_code,
    ).to(device)
    limit, longest = getattr(lm.config.get_text_config(), "max_position_embeddings", None), max(map(len, prompt_ids))
    if limit and longest + args.max_new_tokens > limit:
        raise InputError(
            f"--max_new_tokens {args.max_new_tokens}: with the longest prompt ({longest} tokens) that is "
            f"more than the {limit} positions of {flag} {path}; lower it, or --max_prompt_seq_len"
        )
    return answers_of(lm, codec, prompt_ids, args, heading)


def summary(found):
    """Means over all of a model's answers: tokens, share that ended by themselves, repeated 3-grams, friendly share; and their number."""
    every = [a for answers in found for a in answers]
    return {
        "n": len(every),
        "tokens": sum(a["tokens"] for a in every) / len(every),
        "ended": sum(a["ended"] for a in every) / len(every),
        "repetition": sum(a["repetition"] for a in every) / len(every),
        "friendly": sum(friendly.friendly(a["text"])[0] for a in every) / len(every),
    }


def cell(text):
    """Text as one cell of a Markdown table: nothing in it can start another cell or row, or markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\")
    for mark in "|*_`[]":
        text = text.replace(mark, "\\" + mark)
    return "<br>".join(text.splitlines()) or " "


def markdown(result):
    """The result as a Markdown document: what was done, the means, then one table a prompt with a column a model."""
    names = [m["name"] for m in result["models"]]
    lines = [
        "# Answers side by side",
        "",
        f"Temperature {result['temperature']}, top-p {result['top_p']}, "
        f"at most {result['max_new_tokens']} tokens, seed {result['seed']}, {result['dtype']}.",
        "",
        "| | checkpoint | answers | tokens | ended | repeated 3-grams | friendly | written to as |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for m in result["models"]:
        s = m["means"]
        lines.append(
            f"| {cell(m['name'])} | {cell(m['path'])} | {s['n']} | {s['tokens']:.1f} | {s['ended']:.2f} | {s['repetition']:.2f} | "
            f"{s['friendly']:.2f} | {cell(m['template'])} |"
        )
    for number, row in enumerate(result["prompts"], 1):
        lines += ["", f"## {number}", ""]
        lines += [
            f"**{m['role']}** {cell(m['content'])}" + (f"<br>*{cell(m['input'])}*" if m.get("input") else "") + "  "
            for m in row["messages"]
        ]
        lines += ["", "| " + " | ".join(map(cell, names)) + " |", "|" + "---|" * len(names)]
        for answers in zip(*(row["answers"][n] for n in names)):
            lines.append("| " + " | ".join(cell(a["text"] + ("" if a["ended"] else " […]")) for a in answers) + " |")
    return "\n".join(lines) + "\n"


def show(result):
    """The answers for a terminal, prompt by prompt, then the means."""
    for number, row in enumerate(result["prompts"], 1):
        print(f"\n[{number}] {row['messages'][-1]['content']}")
        for m in result["models"]:
            for a in row["answers"][m["name"]]:
                print(f"  {m['name']}: {a['text']}{'' if a['ended'] else ' […]'}")
    print("\n([…]: cut at --max_new_tokens)")
    for m in result["models"]:
        s = m["means"]
        print(
            f"{m['name']}: {s['n']} answers, {s['tokens']:.1f} tokens, ended {s['ended']:.2f}, "
            f"repeated 3-grams {s['repetition']:.2f}, friendly {s['friendly']:.2f}"
        )


def output_base(text):
    """--output without .md or .json, its folder made; None if it is not given."""
    if not text:
        return None
    path = Path(text).expanduser()
    path = path.with_suffix("") if path.suffix in (".md", ".json") else path
    if path.is_dir():
        raise InputError(f"--output {text}: is a folder; give a file name, e.g. {path / 'answers'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def main():
    args = parse()
    output, named = output_base(args.output), named_models(args)
    if len({heading for heading, _, _ in named}) < len(named):
        raise InputError(
            f"--model_name_or_path {' '.join(args.model_name_or_path)}: the same model twice; name each once"
        )
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    dtype = engine.resolve_dtype(args.dtype, device)
    codecs = load_codecs(args)
    prompts = load_prompts(args)
    ids = [[codec.prompt(messages).ids for messages, _ in prompts] for codec in codecs]
    kept = tokenize.within(
        [max(lengths) for lengths in zip(*(map(len, i) for i in ids))],
        args.max_prompt_seq_len,
        "prompts",
        "--max_prompt_seq_len",
    )
    result = {
        "temperature": args.temperature,
        "top_p": args.top_p,
        "max_new_tokens": args.max_new_tokens,
        "seed": args.seed,
        "dtype": dtype,
        "versions": program.versions(),
        "models": [],
        "prompts": [{"messages": list(prompts[i][0]), "category": prompts[i][1], "answers": {}} for i in kept],
    }
    for model, codec, of_model in zip(named, codecs, ids):
        found = run_model(args, model, codec, [of_model[i] for i in kept], device)
        for row, answers in zip(result["prompts"], found):
            row["answers"][model[0]] = answers
        template = codec.tokenizer.apply_chat_template(
            [{"role": "user", "content": "{prompt}"}], tokenize=False, add_generation_prompt=True
        )
        result["models"].append({"name": model[0], "path": model[1], "template": template, "means": summary(found)})
        print(
            f"{model[0]}: {model[1]} (seed {args.seed}, temperature {args.temperature}, top-p {args.top_p}, {dtype}), "
            f"written to as {json.dumps(template, ensure_ascii=False)}"
        )
    show(result)
    if output:
        Path(f"{output}.md").write_text(markdown(result), encoding="utf-8")
        write_json(f"{output}.json", result)
        print(f"written: {output}.md, {output}.json")


if __name__ == "__main__":
    program.run(main, at_end=engine.stop)

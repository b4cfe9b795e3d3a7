"""What a reward model is worth on any pairs, and what it says about single answers.

Pairs: accuracy by category with n and a 95 % interval, the margin, and the best trivial rules on the same pairs. A prompt: its answers
with their scores, best first. One process, a GPU if there is one. Left out: several GPUs (packed scoring is one forward pass a batch).
"""

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from tqdm import tqdm

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.data import example as rows
from korlhf.data import load, tokenize
from korlhf.models import reward_model
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import engine
from korlhf.training import reward as pairs
from korlhf.training.flags import step_parser
from korlhf.training.reward import halves


@dataclass(frozen=True, kw_only=True)
class EvalFlags:
    """evaluation"""

    model_name_or_path: str = flags.flag(
        flags.REQUIRED, "a reward model: a folder that step 2 wrote, a DeepSpeed-Chat checkpoint, or a hub name"
    )
    data_path: list[str] = flags.flag(
        [],
        "pairs to score, named as in training: registered names, files or folders with chosen + "
        "rejected or ranked answers; of a dataset that has an evaluation split, that split",
    )
    train_data_path: list[str] = flags.flag(
        [],
        "pairs on which the trivial rules choose direction and words; not given = "
        "a random half of --data_path, and the rules are measured on the other half",
    )
    prompt: str = flags.flag("", "one prompt, whose answers are scored")
    answer: list[str] = flags.flag([], "one or more answers to --prompt")
    max_seq_len: int = flags.flag(512, "longest prompt + answer in tokens; longer ones are left out and counted")
    per_device_eval_batch_size: int = flags.flag(16, "prompts, with all their answers, in a forward pass")
    output: str = flags.flag(
        "", "write the figures to this JSON file, and one line a pair to the .pairs.jsonl file beside it"
    )
    prompt_template: str = flags.flag(
        "auto",
        "how a conversation is written out; auto = the template in the model's folder, else kullm",
        choices=["auto", "kullm", "human_assistant", "chat"],
    )
    seed: int = flags.flag(1234, "seed of the random half")
    dtype: str = flags.flag(
        "auto", "precision; auto = bf16 where the hardware has it, else fp32", choices=["auto", "bf16", "fp16", "fp32"]
    )
    trust_remote_code: bool = flags.flag(False, "run Python code that comes with a hub model")


def parse(argv=None):
    parser = step_parser("Score pairs of answers, or the answers to one prompt, with a reward model")
    flags.add(parser, EvalFlags)
    args = flags.read(parser.parse_args(argv), EvalFlags)
    flags.check_positive({k: getattr(args, k) for k in ("max_seq_len", "per_device_eval_batch_size")}, parser)
    if not args.data_path and not args.prompt:
        parser.error("nothing to score: give --data_path, or --prompt with --answer")
    if bool(args.prompt) != bool(args.answer):
        parser.error("--prompt and --answer belong together: give the prompt once and one or more answers")
    if args.train_data_path and not args.data_path:
        parser.error("--train_data_path is for the trivial rules on --data_path; give that too, or delete it")
    return args


def load_reward(args, ranks):
    """(Frozen reward model, its Codec, the precision's name) of the checkpoint."""
    dtype = engine.resolve_dtype(args.dtype, ranks.device)
    tokenizer = load_tokenizer(args.model_name_or_path, args.prompt_template, args.trust_remote_code)
    codec = tokenize.Codec(tokenizer)
    model = reward_model.load_reward_model(args.model_name_or_path, trust_remote_code=args.trust_remote_code)
    return engine.Frozen(reward_model.TokenValues(model), ranks, dtype), codec, dtype


def score(reward, groups, batch_size, ranks):
    """Scores of every answer: lists of Tokens per prompt -> lists of floats, the longest prompts first, with a progress bar."""
    order = sorted(range(len(groups)), key=lambda i: (-max(len(t) for t in groups[i]), i))
    scores = [None] * len(groups)
    with (
        reward as module,
        tqdm(total=len(groups), desc="scoring", unit="prompt", dynamic_ncols=True, mininterval=1) as bar,
    ):
        for at in range(0, len(order), batch_size):
            chunk = order[at : at + batch_size]
            for i, group in zip(chunk, pairs.score_groups(module, [groups[i] for i in chunk], batch_size, ranks)):
                scores[i] = group
            bar.update(len(chunk))
    return scores


def rules_beside(args, examples, scores):
    """The trivial rules and the model's figures on the same pairs: (heading, figures, rules), or (why not, None, None)."""
    if args.train_data_path:
        chosen_on = [e for name in args.train_data_path for e in load.load_examples(name, 2)]
        kept = pairs.apart(chosen_on, examples)
        if not kept:
            raise InputError(
                f"--train_data_path {' '.join(args.train_data_path)}: all {len(chosen_on)} of its prompts are in "
                "--data_path too; give other pairs, or delete the flag"
            )
        heading = f"all pairs; direction and words of the rules chosen on {len(kept)} prompts of {' '.join(args.train_data_path)}"
        if len(kept) < len(chosen_on):
            heading += f" ({len(chosen_on) - len(kept)} that are in --data_path too left out)"
        return heading, pairs.accuracy(examples, scores), pairs.trivial_rules(kept, examples)
    first, second = halves(examples, args.seed)
    if not second:
        return "no trivial rules: they need two different prompts or more, or --train_data_path", None, None
    rest = [examples[i] for i in second]
    heading = (
        f"the half of the prompts ({len(second)} of {len(examples)}, seed {args.seed}) on which the trivial rules are measured; "
        "their direction and words were chosen on the other half"
    )
    return (
        heading,
        pairs.accuracy(rest, [scores[i] for i in second]),
        pairs.trivial_rules([examples[i] for i in first], rest),
    )


def pair_rows(examples, scores):
    """One dict a pair: prompt, category, both answers, their scores, whether the order is right (None for a tie)."""
    for e, group in zip(examples, scores):
        earlier = {"messages": list(e.messages)} if len(e.messages) > 1 else {}
        for (better, a), (worse, b) in combinations(zip(e.answers, group), 2):
            yield {
                "prompt": e.prompt,
                **earlier,
                "category": e.category,
                "better": better,
                "worse": worse,
                "score_better": a,
                "score_worse": b,
                "margin": a - b,
                "right": None if a == b else a > b,
            }


def evaluate_pairs(args, reward, codec, ranks):
    """Print what the model is worth on --data_path: (figures for the JSON file, rows of the pairs)."""
    examples, data = pairs.load_heldout(args.data_path)
    examples, groups = tokenize.reward_tokens(codec, examples, args.max_seq_len)
    scores = score(reward, groups, args.per_device_eval_batch_size, ranks)
    figures = pairs.accuracy(examples, scores)
    heading, beside, trivial = rules_beside(args, examples, scores)
    whole = beside is not None and beside["n"] == figures["n"]
    print(pairs.report(figures, "all pairs" if not whole else heading, trivial if whole else None))
    if not whole:
        print(heading if beside is None else pairs.report(beside, heading, trivial))
    rules = None if beside is None else {"measured_on": heading, "model": beside, "rules": trivial}
    return {"data": data, "figures": figures, "trivial_rules": rules}, list(pair_rows(examples, scores))


def score_answers(args, reward, codec, ranks):
    """Print the answers of --prompt, best first: list of {"answer", "score"}."""
    try:
        messages = rows.turns(args.prompt)
        answers = [rows.bare(a, f"answer {i}") for i, a in enumerate(args.answer, 1)]
    except rows.RowError as error:
        raise InputError(f"--prompt, --answer: {error}") from error
    group = [codec.with_answer(messages, a) for a in answers]
    for i, tokens in enumerate(group, 1):
        if len(tokens) > args.max_seq_len:
            raise InputError(
                f"--answer {i}: with the prompt it has {len(tokens)} tokens; "
                f"raise --max_seq_len {args.max_seq_len}, or shorten it"
            )
    with reward as module:
        scores = [pairs.score_groups(module, [[t]], 1, ranks)[0][0] for t in group]
    found = sorted(({"answer": a, "score": s} for a, s in zip(answers, scores)), key=lambda r: -r["score"])
    print(f"prompt: {messages[-1]['content']}")
    for row in found:
        print(f"  {row['score']:9.4f}  {row['answer']}")
    return {"prompt": messages[-1]["content"], "answers": found}


def write(output, figures, found):
    """OUTPUT as JSON; the rows of the pairs, if any, to the .pairs.jsonl file beside it."""
    if found:
        beside = output.with_suffix(".pairs.jsonl")
        with open(beside, "w", encoding="utf-8") as out:
            for row in found:
                print(json.dumps(row, ensure_ascii=False), file=out)
        figures["pairs_file"] = beside.name
    write_json(output, figures)
    print(f"written: {output}" + (f", {output.with_suffix('.pairs.jsonl')}" if found else ""))


def main():
    args = parse()
    output = Path(args.output).expanduser() if args.output else None
    if output:
        if output.is_dir():
            raise InputError(f"--output {args.output}: is a folder; give a file name, e.g. {output / 'rw_eval.json'}")
        output.parent.mkdir(parents=True, exist_ok=True)
    ranks = engine.Ranks(0, 1, torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"))
    reward, codec, dtype = load_reward(args, ranks)
    template = codec.tokenizer.apply_chat_template(
        [{"role": "user", "content": "{prompt}"}], tokenize=False, add_generation_prompt=True
    )
    print(
        f"reward model: {args.model_name_or_path} ({dtype}, {ranks.device.type})\ntemplate: {json.dumps(template, ensure_ascii=False)}"
    )
    figures, found = (
        {
            "model": args.model_name_or_path,
            "template": template,
            "dtype": dtype,
            "seed": args.seed,
            "max_seq_len": args.max_seq_len,
            "versions": program.versions(),
        },
        [],
    )
    if args.prompt:
        figures["single"] = score_answers(args, reward, codec, ranks)
    if args.data_path:
        of_pairs, found = evaluate_pairs(args, reward, codec, ranks)
        figures.update(of_pairs)
    if output:
        write(output, figures, found)


if __name__ == "__main__":
    program.run(main, at_end=engine.stop)

"""What a reward model is worth on any pairs, and what it says about single answers.

One process, a GPU if there is one.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from korlhf.core import progress
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.data.example import Example, RowError, bare, turns
from korlhf.data.load import load_examples
from korlhf.data.tokenize import Codec, Tokens, reward_tokens
from korlhf.models.checks import check_model
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import pairs
from korlhf.training.eval_flags import EvalFlags
from korlhf.training.implicit import open_scorer
from korlhf.training.world import World, resolve_dtype


class Scorer:
    """The reward model of the flags, or the implicit one of a model that learnt from preferences.

    dtype: "fp32", "bf16" or "fp16"; codec: what it reads with.
    """

    def __init__(self, flags: EvalFlags):
        self.flags, self.world = flags, World.alone()
        self.dtype = resolve_dtype(flags.dtype, self.world.device)
        path, trust = flags.model_name_or_path, flags.trust_remote_code
        self.codec = Codec(load_tokenizer(path, flags.prompt_template, trust))
        check_model(path, "--model_name_or_path", flags.max_seq_len, "--max_seq_len", trust)
        how = self.codec.tokenizer, self.world, self.dtype, trust
        self._frozen, self._forward = open_scorer(path, "--model_name_or_path", *how)

    def scores(self, groups: Sequence[list[Tokens]]) -> list[list[float]]:
        """Scores of every answer: lists of Tokens per prompt -> lists of floats, with a progress bar."""
        size = self.flags.per_device_eval_batch_size
        order = sorted(range(len(groups)), key=lambda i: (-max(len(t) for t in groups[i]), i))
        scores: list[list[float]] = [[] for _ in groups]
        with self._frozen as module, progress.bar(total=len(groups), desc="scoring", unit="prompts") as bar:
            for at in range(0, len(order), size):
                chunk = order[at : at + size]
                batch = pairs.score_groups(module, [groups[i] for i in chunk], size, self.world, self._forward)
                for i, of_prompt in zip(chunk, batch):
                    scores[i] = of_prompt
                bar.update(len(chunk))
        return scores

    def score_alone(self, tokens: Tokens) -> float:
        with self._frozen as module:
            return pairs.score_groups(module, [[tokens]], 1, self.world, self._forward)[0][0]


def evaluate_pairs(scorer: Scorer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Print what the model is worth on --data_path: (figures for the JSON file, rows of the pairs)."""
    flags = scorer.flags
    loaded, data = pairs.load_heldout(flags.data_path, flags.margin_column)
    if flags.min_margin:
        loaded = pairs.far_apart(loaded, flags.min_margin)
    examples, groups = reward_tokens(scorer.codec, loaded, flags.max_seq_len)
    there = set(map(id, examples))
    scores = scorer.scores(groups)
    figures = pairs.accuracy(examples, scores)
    heading, of_model, trivial = _with_rules(flags, examples, scores, [e for e in loaded if id(e) not in there])
    if of_model is None:
        print(f"{pairs.report(figures, 'all pairs')}\n{heading}")
        return {"data": data, "figures": figures, "trivial_rules": None}, list(pair_rows(examples, scores))
    if of_model["n"] != figures["n"]:
        print(pairs.report(figures, "all pairs"))
    print(pairs.report(of_model, heading, trivial))
    of_rules = {"rules" if key == "trivial_rules" else key: value for key, value in trivial.items()}
    rules = {"measured_on": heading, "model": of_model, **of_rules}
    return {"data": data, "figures": figures, "trivial_rules": rules}, list(pair_rows(examples, scores))


def _with_rules(flags, examples, scores, left_out):
    """The model's figures and what stands beside them on the same pairs: (heading, figures, pairs.beside), or (why not,
    None, None). left_out: examples that are too long.
    """
    if flags.train_data_path:
        names = " ".join(flags.train_data_path)
        chosen_on = [e for name in flags.train_data_path for e in load_examples(name, 2)]
        kept = pairs.apart(chosen_on, [*examples, *left_out])
        if not kept:
            raise InputError(
                f"--train_data_path {names}: all {len(chosen_on)} of its prompts are in --data_path too; "
                "give other pairs, or delete the flag"
            )
        heading = f"all pairs; direction and words of the rules chosen on {len(kept)} prompts of {names}"
        if len(kept) < len(chosen_on):
            heading += f" ({len(chosen_on) - len(kept)} that are in --data_path too left out)"
        return heading, pairs.accuracy(examples, scores), pairs.beside(kept, examples, left_out)
    first, second = pairs.halves([*examples, *left_out], flags.seed)
    chosen_on, rest = ([i for i in half if i < len(examples)] for half in (first, second))
    if not (chosen_on and rest):
        return "no trivial rules: they need two different prompts or more, or --train_data_path", None, None
    heading = (
        f"the half of the prompts ({len(rest)} of {len(examples)}, seed {flags.seed}) on which the trivial rules are "
        "measured; their direction and words were chosen on the other half"
    )
    measured = [examples[i] for i in rest]
    out = [left_out[i - len(examples)] for i in second if i >= len(examples)]
    rules = pairs.beside([examples[i] for i in chosen_on], measured, out)
    return heading, pairs.accuracy(measured, [scores[i] for i in rest]), rules


def pair_rows(examples: Sequence[Example], scores: Sequence[list[float]]) -> Iterator[dict[str, Any]]:
    """One dict per pair: prompt, category, both answers, their scores, whether the order is right (None for a tie)."""
    for e, group in zip(examples, scores):
        earlier = {"messages": list(e.messages)} if len(e.messages) > 1 else {}
        pairs_of = combinations(zip(e.answers, group), 2)
        for ((better, a), (worse, b)), of_label in zip(pairs_of, pairs.label_margins(e)):
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
                **({} if of_label is None else {"label_margin": of_label}),
            }


def score_answers(scorer: Scorer) -> dict[str, Any]:
    """Print the answers of --prompt, best first: the prompt and a list of {"answer", "score"}."""
    flags = scorer.flags
    try:
        messages = turns(flags.prompt)
        answers = [bare(a, f"answer {i}") for i, a in enumerate(flags.answer, 1)]
    except RowError as error:
        raise InputError(f"--prompt, --answer: {error}") from error
    group = [scorer.codec.with_answer(messages, a) for a in answers]
    for i, tokens in enumerate(group, 1):
        if len(tokens) > flags.max_seq_len:
            raise InputError(
                f"--answer {i}: with the prompt it has {len(tokens)} tokens; "
                f"raise --max_seq_len {flags.max_seq_len}, or shorten it"
            )
    rows = [{"answer": a, "score": scorer.score_alone(tokens)} for a, tokens in zip(answers, group)]
    rows.sort(key=lambda row: float(row["score"]), reverse=True)
    print(f"prompt: {messages[-1]['content']}")
    for row in rows:
        print(f"  {row['score']:9.4f}  {row['answer']}")
    return {"prompt": messages[-1]["content"], "answers": rows}


def write(output: Path, figures: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """`output` as JSON; the rows of the pairs, if any, to the .pairs.jsonl file next to it."""
    file = output.with_suffix(".pairs.jsonl")
    if rows:
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        figures["pairs_file"] = file.name
    write_json(output, figures)
    print(f"written: {output}" + (f", {file}" if rows else ""))

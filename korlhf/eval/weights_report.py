"""What weights tell, as tables and warnings: KL to the reference, and how likely held-out text still is."""

import math

import numpy as np

from korlhf.core import stats
from korlhf.core.tables import estimate
from korlhf.data import tokenize
from korlhf.eval import weights
from korlhf.eval.diversity_report import ALPHA, how_sure
from korlhf.eval.texts import cell, columns, say, table
from korlhf.llm.protocol import Failure


def queries(s, opened, talks, reference):
    """{name: weights.queries for the KL} of the checkpoints that share the reference's vocabulary; why others have none
    is noted.

    s: session.Session; opened: {name: Checkpoint}; talks: the conversations as models read them; reference:
    reference.Reference.
    """
    other, max_new_tokens, asked = opened.get(reference.name), s.result.settings["max_new_tokens"], {}
    if other is None:
        s.result.protocol["KL"] = say("weights.no_kl", reference=reference.name)
        return asked
    vocabulary = {name: c.codec.tokenizer.get_vocab() for name, c in opened.items()}
    if unlike := [name for name in opened if vocabulary[name] != vocabulary[reference.name]]:
        s.result.protocol["KL"] = say("weights.other_vocabulary", names=", ".join(unlike), reference=reference.name)
    for name, c in opened.items():
        if name not in (*unlike, reference.name):
            longest = min((one.positions - max_new_tokens for one in (c, other) if one.positions), default=None)
            places = [i for i, rs in enumerate(s.answers[name]) if not any(isinstance(r, Failure) for r in rs)]
            asked[name] = weights.queries(c, talks, places, longest, s.seed)
    return {name: of_model for name, of_model in asked.items() if of_model}


def tables(s, opened, examples, talks, reference, args):
    """KL and perplexity: tables, warnings, and next to the answers in the rows what was drawn for the KL.

    examples: held out; args: DiversityFlags of eval/diversity.py; the others as of `queries`.
    """
    result, asked = s.result, queries(s, opened, talks, reference)
    jobs = {name: weights.encode_heldout(c, examples, "--heldout_data_path") for name, c in opened.items()}
    longest = [max(len(ids) for ids, _ in of_one) for of_one in zip(*jobs.values())]
    limit = min([args.max_seq_len, *(c.positions for c in opened.values() if c.positions)])
    kept = tokenize.within(longest, limit, "held-out examples", "--max_seq_len")
    heldout = {name: [of_model[i] for i in kept] for name, of_model in jobs.items()}
    how = result.settings["max_new_tokens"], s.cache, args.forward_batch_size
    logps, drawn = weights.measure(opened, heldout, asked, reference.name, *how)
    _kl_table(result, drawn, reference, args.max_kl)
    _heldout_tables(result, [examples[i] for i in kept], {name: logps[name] for name in opened}, reference)
    for name, answers in drawn.items():
        for d in answers:
            shown = {"text": opened[name].codec.decode(d["ids"]), "tokens": len(d["ids"]), "k1": d["k1"], "k3": d["k3"]}
            result.rows[d["prompt"]].setdefault("kl", {})[name] = shown
    result.protocol["held-out talk"] = say("weights.heldout", n=len(kept), names=", ".join(args.heldout_data_path))
    result.protocol["precision"] = ", ".join(sorted({c.dtype for c in opened.values()}))


def _kl_table(result, drawn, reference, max_kl):
    """KL to the reference, and the warnings about it."""
    figures = result.figures.setdefault("kl", {})
    for name, answers in drawn.items():
        lengths = [len(d["ids"]) for d in answers]
        f = figures[name] = {"n": len(answers), "tokens": sum(lengths)}
        for key in ("k1", "k3"):
            nats = [d[key] for d in answers]
            f[f"{key}_per_answer"] = cell(stats.mean_interval(nats))
            f[f"{key}_per_token"] = cell(stats.ratio_interval(nats, lengths))
        if name in reference.later and f["k1_per_answer"]["mean"] > max_kl:
            values = {"reference": reference.name, "max_kl": max_kl, **f["k1_per_answer"]}
            result.warn(say("weights.far", name=name, **values))
    head = "model answer_count token_count k1_per_answer:2 k1_per_token k3_per_answer:2 k3_per_token"
    rows = [[name, *f.values()] for name, f in figures.items()]
    table(result, "weights.kl", head, rows, reference=reference.name)


def _heldout_figures(examples, logps, base, seed):
    """Figures of one model on some held-out examples. logps, base: log-probabilities by token, of the model and the
    reference (or None)."""
    characters, tokens = [weights.characters(e) for e in examples], [len(of_one) for of_one in logps]
    nats = np.array([-math.fsum(of_one) for of_one in logps])
    loss, bits, gap, p = stats.ratio_interval(nats, tokens), nats / math.log(2), None, None
    if base is not None:
        of_base = np.array([-math.fsum(of_one) for of_one in base]) / math.log(2)
        gap = stats.ratio_interval(bits - of_base, characters)
        _, p = stats.paired_difference(bits, of_base, seed=seed)
    return {
        "n": len(examples),
        "tokens": sum(tokens),
        "nats_per_token": cell(loss),
        "perplexity": estimate(math.exp(loss.mean), math.exp(loss.low), math.exp(loss.high)),
        "bits_per_character": cell(stats.ratio_interval(bits, characters)),
        "difference": cell(gap),
        "p": p,
    }


def _heldout_tables(result, examples, logps, reference):
    """Perplexity and bits per character of every model, of answers and of documents, and the warnings if they rose."""
    parts = {"all": {}, "by_category": {}}
    for i, example in enumerate(examples):
        parts["all"].setdefault("documents" if example.text else "answers", []).append(i)
        parts["by_category"].setdefault(weights.category(example), []).append(i)
    parts["by_category"] = dict(sorted(parts["by_category"].items()))

    def figures(name, places):
        base = logps.get(reference.name) if name != reference.name else None
        here, *of = ([every[i] for i in places] if every else None for every in (examples, logps[name], base))
        return _heldout_figures(here, *of, result.settings["seed"])

    measured = {
        kind: {part: {name: figures(name, places) for name in logps} for part, places in of_kind.items()}
        for kind, of_kind in parts.items()
    }
    result.figures["heldout"] = measured
    kinds = {kind: say(f"weights.kinds.{kind}") for kind in ("answers", "documents")}
    head = columns("model examples token_count nats_per_token perplexity:2 bits_per_character")
    head += reference.column() + columns("p:4")
    rows = {
        kind: [[kinds.get(part, part), name, *f.values()] for part, of in by_part.items() for name, f in of.items()]
        for kind, by_part in measured.items()
    }
    table(result, "weights.likely", columns("what_is") + head, rows["all"])
    if len(parts["by_category"]) > len(parts["all"]):
        table(result, "weights.by_category", columns("category") + head, rows["by_category"], [])
    for part, by_model in measured["all"].items():
        for name in reference.later:
            f = by_model.get(name)
            if f and f["difference"] and f["p"] < ALPHA and f["difference"]["mean"] > 0:
                now, before = (by_model[one]["bits_per_character"]["mean"] for one in (name, reference.name))
                values = {"kind": kinds[part], "reference": reference.name, "sure": how_sure(f["difference"], f["p"])}
                result.warn(say("weights.less_likely", name=name, now=now, before=before, **values))

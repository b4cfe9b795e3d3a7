"""What weights tell, as tables and warnings: KL to the reference, and how likely held-out text still is."""

import math

from korlhf.core.tables import estimate
from korlhf.eval import weights
from korlhf.eval.diversity_report import ALPHA, how_sure
from korlhf.eval.show import cell
from korlhf.eval.texts import columns, say
from korlhf.llm.protocol import Failure


def queries(s, opened, talks, reference):
    """{name: weights.Queries for the KL} of the checkpoints that share the reference's vocabulary; why others have none
    is noted.

    s: session.Session; opened: {name: Checkpoint}; talks: the conversations as models read them; reference:
    reference.Reference.
    """
    other, protocol = opened.get(reference.name), s.result.protocol
    max_new_tokens = s.result.settings["max_new_tokens"]
    if other is None:
        protocol["KL"] = say("weights.no_kl", reference=reference.name)
        return {}
    same = [name for name, c in opened.items() if weights.same_vocabulary(c, other)]
    if len(same) < len(opened):
        names = ", ".join(name for name in opened if name not in same)
        protocol["KL"] = say("weights.other_vocabulary", names=names, reference=reference.name)
    asked = {}
    for name in same:
        if name != reference.name:
            longest = min((c.positions - max_new_tokens for c in (opened[name], other) if c.positions), default=None)
            places = [i for i, rs in enumerate(s.answers[name]) if not any(isinstance(r, Failure) for r in rs)]
            asked[name] = weights.queries(opened[name], talks, places, longest, s.seed)
    return {name: of_model for name, of_model in asked.items() if of_model}


def tables(s, opened, examples, talks, reference, args):
    """KL and perplexity: tables, warnings, and next to the answers in the rows what was drawn for the KL.

    examples: held out; args: DiversityFlags of eval/diversity.py; the others as of `queries`.
    """
    result, asked = s.result, queries(s, opened, talks, reference)
    jobs = {name: weights.encode_heldout(c, examples, "--heldout_data_path") for name, c in opened.items()}
    kept = weights.within_all(jobs, opened, args.max_seq_len)
    logps, drawn = weights.measure(
        opened,
        {name: [of_model[i] for i in kept] for name, of_model in jobs.items()},
        asked,
        reference.name,
        result.settings["max_new_tokens"],
        s.cache,
        args.forward_batch_size,
    )
    _kl_table(result, drawn, reference, args.max_kl)
    _heldout_tables(result, [examples[i] for i in kept], {name: logps[name] for name in opened}, reference)
    for name, answers in drawn.items():
        for d in answers:
            text = opened[name].codec.decode(d.answer)
            shown = {"text": text, "tokens": len(d.answer), "k1": d.k1, "k3": d.k3}
            result.rows[d.prompt].setdefault("kl", {})[name] = shown
    result.protocol["held-out talk"] = say("weights.heldout", n=len(kept), names=", ".join(args.heldout_data_path))
    result.protocol["precision"] = ", ".join(sorted({c.dtype for c in opened.values()}))


def _kl_figures(answers, seed):
    """{"n", "tokens", "k1_per_answer", ...} of Drawn answers, estimates as cells."""
    prompts, lengths = [d.prompt for d in answers], [len(d.answer) for d in answers]
    figures = {"n": len(answers), "tokens": sum(lengths)}
    for key in ("k1", "k3"):
        nats = [getattr(d, key) for d in answers]
        for per, counts in (("answer", [1] * len(answers)), ("token", lengths)):
            figures[f"{key}_per_{per}"] = cell(weights.ratio(nats, counts, prompts, seed))
    return figures


def _kl_table(result, drawn, reference, max_kl):
    """KL to the reference, and the warnings about it."""
    figures = {name: _kl_figures(answers, result.settings["seed"]) for name, answers in drawn.items()}
    result.figures["kl"] = figures
    for name in filter(reference.later.__contains__, figures):
        kl = figures[name]["k1_per_answer"]
        if kl["mean"] > max_kl:
            result.warn(say("weights.far", name=name, reference=reference.name, max_kl=max_kl, **kl))
    if figures:
        result.table(
            say("weights.kl.title", reference=reference.name),
            columns("model answer_count token_count k1_per_answer:2 k1_per_token k3_per_answer:2 k3_per_token"),
            [[name, *f.values()] for name, f in figures.items()],
            [say("weights.kl.note")],
        )


def _heldout_figures(examples, logps, base, seed):
    """Figures of one model on some held-out examples. logps, base: log-probabilities by token, of the model and the
    reference (or None)."""
    groups, characters = list(range(len(examples))), [weights.characters(e) for e in examples]
    tokens, nats = [len(of_one) for of_one in logps], [-math.fsum(of_one) for of_one in logps]
    bits = [n / math.log(2) for n in nats]
    loss = weights.ratio(nats, tokens, groups, seed)
    difference, p = None, None
    if base is not None:
        base_bits = [-math.fsum(of_one) / math.log(2) for of_one in base]
        difference, p = weights.ratio_difference(bits, base_bits, characters, groups, seed)
    return {
        "n": len(examples),
        "tokens": sum(tokens),
        "nats_per_token": cell(loss),
        "perplexity": estimate(math.exp(loss.mean), math.exp(loss.low), math.exp(loss.high)),
        "bits_per_character": cell(weights.ratio(bits, characters, groups, seed)),
        "difference": cell(difference),
        "p": p,
    }


def _part(examples, logps, places, reference, seed):
    """{name: _heldout_figures} of the examples at `places`."""
    base = [logps[reference][i] for i in places] if reference in logps else None
    here = [examples[i] for i in places]
    return {
        name: _heldout_figures(here, [of_model[i] for i in places], None if name == reference else base, seed)
        for name, of_model in logps.items()
    }


def _heldout_tables(result, examples, logps, reference):
    """Perplexity and bits per character of every model, of answers and of documents, and the warnings if they rose."""
    by_kind, by_category = {}, {}
    for i, example in enumerate(examples):
        by_kind.setdefault("documents" if example.text else "answers", []).append(i)
        by_category.setdefault(weights.category(example), []).append(i)
    result.figures["heldout"] = figures = {
        title: {
            part: _part(examples, logps, places, reference.name, result.settings["seed"])
            for part, places in parts.items()
        }
        for title, parts in (("all", by_kind), ("by_category", dict(sorted(by_category.items()))))
    }
    head = columns("model examples token_count nats_per_token perplexity:2 bits_per_character")
    head += reference.column() + columns("p:4")
    kinds = {kind: say(f"weights.kinds.{kind}") for kind in ("answers", "documents")}
    rows = {
        title: [[kinds.get(part, part), name, *f.values()] for part, of in parts.items() for name, f in of.items()]
        for title, parts in figures.items()
    }
    result.table(say("weights.likely.title"), columns("what_is") + head, rows["all"], [say("weights.likely.note")])
    if len(by_category) > len(by_kind):
        result.table(say("weights.likely.by_category"), columns("category") + head, rows["by_category"])
    for part, by_model in figures["all"].items():
        for name in filter(reference.later.__contains__, by_model):
            _warn_of_unlikely(result, name, kinds[part], by_model, reference.name)


def _warn_of_unlikely(result, name, kind, by_model, reference):
    f = by_model[name]
    if f["difference"] is not None and f["p"] < ALPHA and f["difference"]["mean"] > 0:
        now, before = (by_model[one]["bits_per_character"]["mean"] for one in (name, reference))
        sure = how_sure(f["difference"], f["p"])
        values = {"name": name, "kind": kind, "reference": reference}
        result.warn(say("weights.less_likely", now=now, before=before, sure=sure, **values))

"""The pairs that reward models are measured on: what each model was trained on, which prompts it has seen, what rules
are fitted to."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from korlhf.core.errors import InputError
from korlhf.core.files import read_json
from korlhf.data import load, record
from korlhf.data.near_duplicates import Signatures
from korlhf.data.prompts import draw
from korlhf.eval import reward
from korlhf.eval.texts import say
from korlhf.llm.protocol import Failure
from korlhf.training import pairs

SETTINGS = ("data_path", "data_split", "eval_data_path", "eval_share", "seed")
NEAR = 0.01  # share of the prompts


def load_examples(data_path, max_pairs, seed, margin_column=""):
    """Ranked examples, each once; at most about `max_pairs` pairs, 0 = all."""
    examples = pairs.once(pairs.load_heldout(data_path, margin_column)[0])
    n = sum(len(e.answers) * (len(e.answers) - 1) // 2 for e in examples)
    most = max(1, len(examples) * max_pairs // n) if max_pairs else 0
    return draw(examples, most, seed, key=lambda e: e.category)


def training_data(train_data_path, models, result):
    """{name: examples that the model was trained on, or None if that is not known, of which it warns}

    They are read again by the settings.json of step 2 in a model's folder; files that changed since, as they are now.
    """
    if train_data_path:
        return dict.fromkeys(models, [e for name in train_data_path for e in load.load_examples(name, 2)])
    training = dict.fromkeys(models)
    for name, judge in models.items():
        file, why = Path(judge.path).expanduser() / "settings.json", say("reward.no_settings")
        try:
            settings = read_json(file) if file.is_file() else {}
            if set(SETTINGS) <= set(settings):
                labels = settings.get("loss") == "kto"
                training[name] = load.load_step(2, **{key: settings[key] for key in SETTINGS}, labels=labels)[0]
        except (InputError, OSError, ValueError) as error:
            why = say("reward.unreadable", error=str(error))
        if training[name] is None:
            result.warn(say("reward.unknown_training", name=name, why=why))
    return training


def score(models, examples, cache, result):
    """(reward.all_pairs that every model scored, {name: (N, 2) scores of the better and the worse}, the other pairs),
    of which it warns, by category."""
    every = reward.all_pairs(examples, [record.record_id(e.messages) for e in examples])
    talks, texts = [list(e.messages) for e in examples], [e.answers for e in examples]
    scores, places = {}, every[["example", "better", "worse"]].to_numpy()
    for name, judge in models.items():
        by_example = judge.scores(talks, texts, cache)
        flat = [s for of_example in by_example for s in of_example]
        if failures := [s for s in flat if isinstance(s, Failure)]:
            reason = f"{failures[0].kind}: {failures[0].reason}"
            result.warn(say("reward.unscored", name=name, k=len(failures), n=len(flat), reason=reason))
        known = [[math.nan if isinstance(s, Failure) else s for s in of_example] for of_example in by_example]
        scores[name] = np.array([[known[i][a], known[i][b]] for i, a, b in places])
    whole = np.all([np.isfinite(s).all(1) for s in scores.values()], axis=0)
    if not whole.any():
        reason = result.warnings[-1]["en"]
        raise InputError(f"none of the {len(every)} pairs has a score of every model for both answers: {reason}")
    if not whole.all():
        of = every["category"].value_counts()
        out = every["category"][~whole].value_counts().sort_index()
        named = ", ".join(f"{category} {k}/{of[category]}" for category, k in out.items())
        result.warn(say("reward.left_out", k=int((~whole).sum()), n=len(every), categories=named))
    scored, rest = (every[here].reset_index(drop=True) for here in (whole, ~whole))
    return scored, {name: s[whole] for name, s in scores.items()}, rest


def seen(train, examples):
    """Prompts (load.prompt_key) of `examples` that are in `train`: (set of the same ones, set of near-duplicates that
    are not)."""
    known = list(dict.fromkeys(load.prompt_key(e) for e in train))
    asked = dict.fromkeys(load.prompt_key(e) for e in examples)
    same = set(known) & set(asked)
    rest = [key for key in asked if key not in same]
    alike = Signatures([*known, *rest]).pairs()
    return same, {rest[j - len(known)] for i, j, _ in alike if i < len(known) <= j}


def leave_out_seen(examples, training, scored, scores, result):
    """(N,) whether a pair is in the figures: its prompt is in no model's training data, unless all are. Warns, and
    notes the counts."""
    keys = scored["example"].map(lambda i: load.prompt_key(examples[i]))
    asked = [examples[i] for i in scored["example"].unique()]
    by_data = {id(train): seen(train, asked) for train in training.values() if train is not None}
    fresh = ~keys.isin(set().union(*(same for same, _ in by_data.values()))).to_numpy()
    figures = {}
    for name, train in training.items():
        if train is None:
            continue
        same, near = by_data[id(train)]
        places = {"same": keys.isin(same), "new": ~keys.isin(same), "near": keys.isin(near)}
        places["rest"] = places["new"] & ~places["near"]
        right = pd.Series(reward.results(reward.margins_of(scores[name])))
        counts = figures[name] = {"n": keys.nunique(), "same": len(same), "near": len(near)}
        counts |= {f"on_{kind}": float(right[at].mean()) if at.any() else None for kind, at in places.items()}
        told = {key: f"{value:.3f}" if isinstance(value, float) else value for key, value in counts.items()}
        told = {"name": name, **{key: "–" if value is None else value for key, value in told.items()}}
        if same:
            result.warn(say("reward.seen_left_out" if fresh.any() else "reward.seen_all", **told))
        if len(near) > NEAR * counts["n"]:
            result.warn(say("reward.seen_near", **told))
    if figures:
        result.figures["seen"] = figures
    return fresh if fresh.any() else ~fresh


def beside_compared(examples, training, left_out, compared, seed):
    """Of the pairs that no model scored those that belong to the compared ones: without the prompts that are in a
    model's training data, unless all are; and half of them where half of the others are compared."""
    known = {load.prompt_key(e) for train in training.values() for e in train or ()}
    fresh = [load.prompt_key(examples[i]) not in known for i in left_out["example"]]
    left_out = left_out[fresh] if any(fresh) else left_out
    if compared.all() or left_out.empty:
        return left_out
    places = sorted(left_out["example"].unique())
    _, second = pairs.halves([examples[i] for i in places], seed)
    return left_out[left_out["example"].isin([places[i] for i in second])]


def to_fit(train_data_path, examples, training, kept, seed):
    """What rules and classifier are fitted to, for the pairs `kept` in the figures: the training data without the
    prompts of `examples`, else a random half of them.

    Returns (reward.all_pairs of them, None of a single prompt; (N,) whether a pair is compared with them; on what
    they were fitted, as tables.both).
    """
    ranked = (e for train in training.values() for e in train or () if len(e.answers) > 1)
    known = pairs.apart(pairs.once(ranked), examples)
    if known:
        fit = reward.all_pairs(known, [record.record_id(e.messages) for e in known])
        names = " ".join(train_data_path) or say("reward.own_training")
        where = say("reward.fitted_to_training", n=len(fit), data=names, prompts=len(known))
        return fit, np.ones(len(kept), dtype=bool), where
    places = sorted(kept["example"].unique())
    _, second = pairs.halves([examples[i] for i in places], seed)
    compared = kept["example"].isin([places[i] for i in second]).to_numpy()
    fit = kept[~compared]
    where = say("reward.fitted_to_half", n=len(fit), seed=seed, rest=int(compared.sum()))
    return fit if second else None, compared, where


def rows(examples, scored, scores, keep, compared):
    """One dict per pair: both texts, their ranks and scores.

    id: of the prompt; right: None for equal scores; in_figures: not of a prompt that a model was trained on; compared:
    with the rules too.
    """
    out, with_rules = [], np.zeros(len(scored), dtype=bool)
    with_rules[keep] = compared
    for k, p in enumerate(scored.itertuples()):
        margins = {name: float(s[k, 0] - s[k, 1]) for name, s in scores.items()}
        out.append(
            {
                "id": p.prompt_id,
                "category": p.category,
                "messages": list(examples[p.example].messages),
                "ranks": [p.better + 1, p.worse + 1],
                "chosen": p.chosen,
                "rejected": p.rejected,
                "scores": {name: s[k].tolist() for name, s in scores.items()},
                "margin": margins,
                "right": {name: None if m == 0 else m > 0 for name, m in margins.items()},
                "in_figures": bool(keep[k]),
                "compared": bool(with_rules[k]),
            }
        )
    return out

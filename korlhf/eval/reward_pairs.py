"""The pairs that reward models are measured on: what each model was trained on, which prompts it has seen, what rules
are fitted to."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from korlhf.core.errors import InputError
from korlhf.data import load, record
from korlhf.data.near_duplicates import Signatures
from korlhf.data.prompts import draw
from korlhf.eval import reward
from korlhf.eval import reward_report as report
from korlhf.eval.texts import say
from korlhf.llm.protocol import Failure
from korlhf.training import pairs

SETTINGS = ("data_path", "data_split", "eval_data_path", "eval_share", "seed")


def load_examples(data_path, max_pairs, seed):
    """Ranked examples, each once; at most about `max_pairs` pairs, 0 = all."""
    examples = pairs.once(pairs.load_heldout(data_path)[0])
    n = sum(len(e.answers) * (len(e.answers) - 1) // 2 for e in examples)
    most = max(1, len(examples) * max_pairs // n) if max_pairs else 0
    return draw(examples, most, seed, key=lambda e: e.category)


def training_of(path):
    """Examples that a folder of step 2 was trained on, read again by its settings.json; None if there is none, or it is
    of another program.

    Files that changed since are read as they are now. Raises InputError if settings.json is broken or its data cannot
    be had.
    """
    file = Path(path).expanduser() / "settings.json"
    if not file.is_file():
        return None
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {error}; give --train_data_path") from error
    if not isinstance(settings, dict) or not all(name in settings for name in SETTINGS):
        return None
    return load.load_step(2, **{name: settings[name] for name in SETTINGS})[0]


def training_data(train_data_path, models, result):
    """{name: examples that the model was trained on, or None if that is not known, of which it warns}"""
    if train_data_path:
        return dict.fromkeys(models, [e for name in train_data_path for e in load.load_examples(name, 2)])
    training = {}
    for name, judge in models.items():
        why = say("reward.no_settings")
        try:
            training[name] = training_of(judge.path)
        except InputError as error:
            training[name], why = None, say("reward.unreadable", error=str(error))
        if training[name] is None:
            result.warn(say("reward.unknown_training", name=name, why=why))
    return training


def score(models, examples, cache, result):
    """(reward.Pairs that every model scored, {name: (N, 2) scores of the better and the worse answer}); warns of the
    others."""
    every = reward.all_pairs(examples, [record.record_id(e.messages) for e in examples])
    talks, texts = [list(e.messages) for e in examples], [e.answers for e in examples]
    scores = {name: judge.scores(talks, texts, cache) for name, judge in models.items()}
    for name, by_example in scores.items():
        flat = [s for of_example in by_example for s in of_example]
        if failures := [s for s in flat if isinstance(s, Failure)]:
            reason = f"{failures[0].kind}: {failures[0].reason}"
            result.warn(say("reward.unscored", name=name, k=len(failures), n=len(flat), reason=reason))
    whole = [
        p
        for p in every
        if not any(isinstance(s[p.example][k], Failure) for s in scores.values() for k in (p.better, p.worse))
    ]
    if not whole:
        reason = result.warnings[-1]["en"]
        raise InputError(f"none of the {len(every)} pairs has a score of every model for both answers: {reason}")
    if len(whole) < len(every):
        result.warn(say("reward.left_out", k=len(every) - len(whole), n=len(every)))
    by_pair = {
        name: np.array([[s[p.example][p.better], s[p.example][p.worse]] for p in whole]) for name, s in scores.items()
    }
    return whole, by_pair


def seen(train, examples):
    """Prompts (load.prompt_key) of `examples` that are in `train`: (set of the same ones, set of near-duplicates that
    are not)."""
    known = list(dict.fromkeys(load.prompt_key(e) for e in train))
    asked = list(dict.fromkeys(load.prompt_key(e) for e in examples))
    same = set(known) & set(asked)
    rest = [key for key in asked if key not in same]
    alike = Signatures([*known, *rest]).pairs()
    near = {rest[j - len(known)] for i, j, _ in alike if i < len(known) <= j}
    return same, near


def leave_out_seen(examples, training, scored, scores, result):
    """(N,) whether a pair is in the figures: its prompt is in no model's training data, unless all are. Warns, and
    notes the counts."""
    keys = [load.prompt_key(examples[p.example]) for p in scored]
    asked = [examples[i] for i in sorted({p.example for p in scored})]
    by_data, prompts = {}, {}
    for name, train in training.items():
        if train is not None:
            if id(train) not in by_data:
                by_data[id(train)] = seen(train, asked)
            prompts[name] = by_data[id(train)]
    fresh = np.array([not any(key in same for same, _ in prompts.values()) for key in keys])
    for name, (same, near) in prompts.items():
        right = reward.results(scores[name][:, 0] - scores[name][:, 1])
        here = np.array(["same" if key in same else "near" if key in near else "rest" for key in keys])
        places = {"same": here == "same", "new": here != "same", "near": here == "near", "rest": here == "rest"}
        counts = {
            "n": len(set(keys)),
            "same": len(same),
            "near": len(near),
            **{f"on_{kind}": float(right[at].mean()) if at.any() else None for kind, at in places.items()},
        }
        report.warn_of_seen(result, name, counts, left_out=bool(fresh.any()))
        result.figures.setdefault("seen", {})[name] = counts
    return fresh if fresh.any() else np.ones(len(scored), dtype=bool)


@dataclass(frozen=True)
class Fit:
    """pairs: (prompt, better, worse) that rules and classifier are fitted to, [] of a single prompt; compared: (N,)
    whether a pair of the figures is compared with them; where: tables.both, on what they were fitted."""

    pairs: list
    compared: np.ndarray
    where: dict


def to_fit(train_data_path, examples, training, kept, seed):
    """The Fit for the pairs `kept` in the figures: the training data without the prompts of `examples`, else a random
    half of them."""
    known = pairs.apart(pairs.once(e for train in training.values() for e in train or ()), examples)
    if known:
        fit = pairs.as_pairs(known)
        names = " ".join(train_data_path) or say("reward.own_training")
        where = say("reward.fitted_to_training", n=len(fit), data=names, prompts=len(known))
        return Fit(fit, np.ones(len(kept), dtype=bool), where)
    places = sorted({p.example for p in kept})
    first, second = ({places[i] for i in half} for half in pairs.halves([examples[i] for i in places], seed))
    fit, compared = [p.texts for p in kept if p.example in first], np.array([p.example in second for p in kept])
    where = say("reward.fitted_to_half", n=len(fit), seed=seed, rest=int(compared.sum()))
    return Fit(fit if second else [], compared, where)


def rows(examples, scored, scores, keep, fit):
    """One dict per pair: both texts, their ranks and scores.

    id: of the prompt; right: None for equal scores; in_figures: not of a prompt that a model was trained on; compared:
    with the rules too.
    """
    out, compared = [], iter(fit.compared if fit.pairs else [False] * len(scored))
    for k, p in enumerate(scored):
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
                "compared": bool(keep[k]) and bool(next(compared)),
            }
        )
    return out

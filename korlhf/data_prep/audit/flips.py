"""Labels that look wrong: pairs of which a quick model, trained on the others, is sure of the opposite.

The model is logistic regression on the difference of two answers' character 2-4-grams (TF-IDF), so it knows words and endings, not
sense. Five folds by prompt: no pair is judged by a model that saw its prompt. How sure it is, is made honest by two numbers fitted to
all its votes: a slope, and the share of labels that are simply wrong however clear the pair is (a lapse rate, as psychometrics has it).
Left out: reading the prompt (a difference of answers does not need it), and larger models, which would learn the wrong labels by heart.
"""

from typing import NamedTuple

import numpy as np

from korlhf.core.stats import wilson
from korlhf.data_prep.audit.sample import shortened

LEAST_PAIRS = 200
MAX_PAIRS = 20_000
FOLDS = 5
FEATURES = 1 << 17
BLOCK = 2_000  # pairs turned into numbers at once; as many, spread evenly, give the document frequencies
CHARACTERS = 300  # of an answer: its beginning and its end
SUSPICIOUS = 0.1  # probability of the label
BANDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


class Flips(NamedTuple):
    """pairs: those judged; probability: (n,) of their labels; figures: for the report."""

    pairs: list
    probability: np.ndarray
    figures: dict


def find(pairs, seed):
    """Judge SampledPairs by cross-validation -> Flips, or a str: why not."""
    if len(pairs) < LEAST_PAIRS:
        return f"{len(pairs)} pairs; at least {LEAST_PAIRS} are needed"
    prompts = np.array([p.prompt_hash for p in pairs], np.uint64)
    if len(np.unique(prompts)) < FOLDS * 2:
        return f"{len(np.unique(prompts))} different prompts; at least {FOLDS * 2} are needed"
    votes = _votes(_differences(pairs), prompts, seed)
    slope, lapse = fit(votes)
    probability = 1 / (1 + np.exp(-slope * votes))
    right = float((votes > 0).sum() + 0.5 * (votes == 0).sum())
    figures = {
        "pairs": len(pairs),
        "prompts": len(np.unique(prompts)),
        "accuracy": right / len(pairs),
        "ci95": wilson(right, len(pairs)),
        "slope": slope,
        "wrong_labels_estimated": lapse,
        **_suspicious(probability),
        "calibration": _calibration(probability),
    }
    return Flips(pairs, probability, figures)


def _differences(pairs):
    """Sparse (n, FEATURES): TF-IDF of the chosen answer minus that of the rejected one; block by block, which saves memory."""
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hashing = HashingVectorizer(
        analyzer="char", ngram_range=(2, 4), n_features=FEATURES, alternate_sign=False, norm=None, dtype=np.float32
    )
    weighting = TfidfTransformer(sublinear_tf=True).fit(hashing.transform(_texts(pairs[:: len(pairs) // BLOCK + 1])))
    blocks = []
    for at in range(0, len(pairs), BLOCK):
        weights = weighting.transform(hashing.transform(_texts(pairs[at : at + BLOCK])))
        blocks.append(weights[0::2] - weights[1::2])
    return vstack(blocks, format="csr")


def _texts(pairs):
    return [_ends(text) for p in pairs for text in (p.chosen, p.rejected)]


def _ends(text):
    text = " ".join(text.split())
    return text if len(text) <= CHARACTERS else text[: CHARACTERS // 2] + "\n" + text[-CHARACTERS // 2 :]


def _votes(differences, prompts, seed):
    """(n,) log odds of every label by the model of the four other folds.

    Turning a pair round turns its difference's sign and its label, and without an intercept both are the same to the model; so every
    pair is shown once, half of them turned round by seed.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    signs = np.where(np.random.default_rng(seed).random(len(prompts)) < 0.5, np.float32(-1), np.float32(1))
    turned = differences.multiply(signs[:, None]).tocsr()
    votes = np.empty(len(prompts))
    for train, test in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(prompts, groups=prompts):
        model = LogisticRegression(C=10.0, fit_intercept=False, solver="liblinear", tol=0.01, random_state=seed)
        model.fit(turned[train], signs[train] > 0)
        votes[test] = model.decision_function(turned[test]) * signs[test]
    return votes


def fit(votes):
    """(slope, lapse) that make the votes most likely: a label is right with (1 - lapse) s(slope vote) + lapse s(-slope vote).

    s is the logistic function. slope in [.02, 50], lapse in [0, .4].
    """
    from scipy.optimize import minimize

    starts = [(np.log(slope), lapse) for slope in (0.3, 1.0, 3.0) for lapse in (0.01, 0.1)]
    bounds = [(np.log(0.02), np.log(50.0)), (0.0, 0.4)]
    best = min(
        (minimize(_cost, start, args=(votes,), method="L-BFGS-B", bounds=bounds) for start in starts),
        key=lambda found: found.fun,
    )
    return float(np.exp(best.x[0])), float(best.x[1])


def _cost(parameters, votes):
    slope, lapse = np.exp(parameters[0]), parameters[1]
    p = 1 / (1 + np.exp(-np.clip(slope * votes, -60, 60)))
    return -np.log((1 - lapse) * p + lapse * (1 - p) + 1e-12).mean()


def _suspicious(probability):
    """How many labels are suspicious, and how many would be by chance if every label were right and the model knew its own doubts."""
    sure = np.maximum(probability, 1 - probability) > 1 - SUSPICIOUS
    return {
        "threshold": SUSPICIOUS,
        "suspicious": int((probability < SUSPICIOUS).sum()),
        "expected_by_chance": float(np.minimum(probability, 1 - probability)[sure].sum()),
        "sure_either_way": int(sure.sum()),
    }


def _calibration(probability):
    """Per band of how sure the model is: pairs, what it claims, and the share of labels that agree."""
    sure = np.maximum(probability, 1 - probability)
    table = []
    for low, high in zip(BANDS, BANDS[1:]):
        inside = (sure >= low) & (sure < high if high < 1 else sure <= high)
        if inside.any():
            agree = float((probability[inside] > 0.5).sum() + 0.5 * (probability[inside] == 0.5).sum())
            table.append(
                {
                    "from": low,
                    "to": high,
                    "pairs": int(inside.sum()),
                    "claimed": float(sure[inside].mean()),
                    "labels_agree": agree / int(inside.sum()),
                }
            )
    return table


def shown(pair, probability):
    """One judged pair for the report, its texts shortened."""
    return {
        "place": pair.place,
        "category": pair.category,
        "probability": probability,
        "prompt": shortened(pair.prompt),
        "chosen": shortened(pair.chosen),
        "rejected": shortened(pair.rejected),
    }

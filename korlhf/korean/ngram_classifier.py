"""A classifier of n-grams: it weighs the words and characters of an answer, wherever they stand, and reads no prompt.

Logistic regression on the difference of two answers' TF-IDF of words (what stands between blanks) and of character
1-4-grams. A reward model that does not beat it on the same pairs may have learnt words and endings too. Left out: a
search for the best settings; what is given here was as good as any neighbour on two sets of Korean pairs.
"""

import random
from itertools import chain

import numpy as np

NAME = "n-gram classifier"
LEAST_PAIRS = 20
MAX_PAIRS = 20_000  # a larger set is thinned out by seed: more pairs cost memory and change little
FEATURES = 1 << 18  # of each kind
BLOCK = 2_000  # pairs turned into numbers at once; as many, spread evenly, give the document frequencies


class Differences:
    """Function: [(text, text)] -> sparse (N, features), TF-IDF of the first text minus that of the second.

    pairs: of which some give the document frequencies; kinds: of n-grams, as arguments of HashingVectorizer.
    """

    def __init__(self, pairs, *kinds):
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer  # slow to import

        counting, some = {"alternate_sign": False, "norm": None, "dtype": np.float32}, pairs[:: len(pairs) // BLOCK + 1]
        self._kinds = [(HashingVectorizer(**kind, **counting), TfidfTransformer(sublinear_tf=True)) for kind in kinds]
        for hashing, weighting in self._kinds:
            weighting.fit(hashing.transform(chain.from_iterable(some)))

    def __call__(self, pairs):
        from scipy.sparse import hstack, vstack

        blocks = []
        for at in range(0, len(pairs), BLOCK):  # which saves memory
            texts = list(chain.from_iterable(pairs[at : at + BLOCK]))
            weights = [weighting.transform(hashing.transform(texts)) for hashing, weighting in self._kinds]
            weights = hstack(weights, format="csr")
            blocks.append(weights[0::2] - weights[1::2])
        return vstack(blocks, format="csr")


class NgramClassifier:
    """The classifier, fitted to pairs (prompt, better, worse); the same pairs and seed give the same weights.

    pairs: how many were used, at most MAX_PAIRS. Raises ValueError for fewer than LEAST_PAIRS.
    """

    def __init__(self, pairs, seed):
        from sklearn.linear_model import LogisticRegression  # slow to import

        if len(pairs) < LEAST_PAIRS:
            raise ValueError(f"{len(pairs)} pairs; at least {LEAST_PAIRS} are needed")
        if len(pairs) > MAX_PAIRS:
            pairs = random.Random(seed).sample(pairs, MAX_PAIRS)
        self.pairs = len(pairs)
        kinds = {"token_pattern": r"\S+"}, {"analyzer": "char", "ngram_range": (1, 4)}
        self._differences = Differences(_answers(pairs), *({**kind, "n_features": FEATURES} for kind in kinds))
        # Without an intercept a pair turned round is the same to the model: each is shown once, every second turned.
        signs = np.where(np.arange(len(pairs)) % 2 == 0, np.float32(1), np.float32(-1))
        self._model = LogisticRegression(C=3.0, fit_intercept=False, solver="liblinear", tol=0.01, random_state=seed)
        self._model.fit(self._differences(_answers(pairs)).multiply(signs[:, None]).tocsr(), signs > 0)

    def margins(self, pairs):
        """(N,) log odds that the first answer of each pair is the better one; 0 if it knows nothing of either."""
        return self._model.decision_function(self._differences(_answers(pairs))) if pairs else np.zeros(0)


def _answers(pairs):
    return [answers for _, *answers in pairs]

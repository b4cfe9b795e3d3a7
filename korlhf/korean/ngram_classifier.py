"""A classifier of n-grams: it weighs the words and characters of an answer, wherever they stand, and reads no prompt.

Logistic regression on the difference of two answers' TF-IDF of words (what stands between blanks) and of character
1-4-grams. A reward model that does not beat it on the same pairs may have learnt words and endings too. Left out: a
search for the best settings; what is given here was as good as any neighbour on two sets of Korean pairs.
"""

import random

import numpy as np

NAME = "n-gram classifier"
LEAST_PAIRS = 20
MAX_PAIRS = 20_000  # a larger set is thinned out by seed: more pairs cost memory and change little
FEATURES = 1 << 18  # of each kind
BLOCK = 2_000  # pairs turned into numbers at once


class NgramClassifier:
    """The classifier, fitted to pairs (prompt, better, worse); the same pairs and seed give the same weights.

    pairs: how many were used, at most MAX_PAIRS. Raises ValueError for fewer than LEAST_PAIRS.
    """

    def __init__(self, pairs, seed):
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer  # slow to import
        from sklearn.linear_model import LogisticRegression

        if len(pairs) < LEAST_PAIRS:
            raise ValueError(f"{len(pairs)} pairs; at least {LEAST_PAIRS} are needed")
        if len(pairs) > MAX_PAIRS:
            pairs = random.Random(seed).sample(pairs, MAX_PAIRS)
        self.pairs = len(pairs)
        counting = {"n_features": FEATURES, "alternate_sign": False, "norm": None, "dtype": np.float32}
        self._kinds = [
            (HashingVectorizer(token_pattern=r"\S+", **counting), TfidfTransformer(sublinear_tf=True)),
            (HashingVectorizer(analyzer="char", ngram_range=(1, 4), **counting), TfidfTransformer(sublinear_tf=True)),
        ]
        some = _texts(pairs[:: len(pairs) // BLOCK + 1])
        for hashing, weighting in self._kinds:
            weighting.fit(hashing.transform(some))
        # Without an intercept a pair turned round is the same to the model: each is shown once, every second turned.
        signs = np.where(np.arange(len(pairs)) % 2 == 0, np.float32(1), np.float32(-1))
        self._model = LogisticRegression(C=3.0, fit_intercept=False, solver="liblinear", tol=0.01, random_state=seed)
        self._model.fit(self._differences(pairs).multiply(signs[:, None]).tocsr(), signs > 0)

    def margins(self, pairs):
        """(N,) log odds that the first answer of each pair is the better one; 0 if it knows nothing of either."""
        return self._model.decision_function(self._differences(pairs)) if pairs else np.zeros(0)

    def _differences(self, pairs):
        """Sparse (N, features): TF-IDF of the first answer minus that of the second; block by block, which saves
        memory."""
        from scipy.sparse import hstack, vstack

        blocks = []
        for at in range(0, len(pairs), BLOCK):
            texts = _texts(pairs[at : at + BLOCK])
            weights = hstack(
                [weighting.transform(hashing.transform(texts)) for hashing, weighting in self._kinds], format="csr"
            )
            blocks.append(weights[0::2] - weights[1::2])
        return vstack(blocks, format="csr")


def _texts(pairs):
    return [text for _, a, b in pairs for text in (a, b)]

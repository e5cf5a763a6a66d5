"""Count models over tokens, the floor that a trained model has to beat: unigram and bigram, fitted on the training documents.

Both see what the mixture of experts saw: every kind with an equal share, and neither is told the kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class CountModel:
    """Unigram and bigram probabilities of token ids.

    The bigram is smoothed with the unigram after Witten and Bell (1991, method C): p(w | h) = (c(h, w) + T(h) p(w)) / (c(h) + T(h)),
    T(h) the number of different tokens seen after h; the unigram adds one to every count.

    Args:
        vocabulary: V.
        kinds: for each kind its documents' token ids; counts of a kind are scaled to an equal share.
        boundary: id of the token before every document.
    """

    def __init__(self, vocabulary: int, kinds: Sequence[Sequence[np.ndarray]], boundary: int) -> None:
        self._boundary = boundary
        pairs = np.zeros((vocabulary, vocabulary), dtype=np.float64)
        largest = max(sum(map(len, documents)) for documents in kinds)
        for documents in kinds:
            counts = np.zeros(vocabulary * vocabulary, dtype=np.float64)
            for ids in documents:
                previous = np.concatenate([[boundary], ids[:-1]]).astype(np.int64)
                np.add.at(counts, previous * vocabulary + ids, 1.0)
            pairs += counts.reshape(vocabulary, vocabulary) * (largest / max(1.0, counts.sum()))
        single = pairs.sum(0) + 1.0
        self.unigram = single / single.sum()
        self._pairs = pairs
        self._after = (pairs > 0).sum(1).astype(np.float64)
        self._total = pairs.sum(1)

    def unigram_nats(self, ids: np.ndarray) -> float:
        """Sum of -ln p over the tokens of one document."""
        return float(-np.log(self.unigram[ids]).sum())

    def bigram_nats(self, ids: np.ndarray) -> float:
        """Sum of -ln p(token | token before) over one document, the first after the boundary."""
        previous = np.concatenate([[self._boundary], ids[:-1]]).astype(np.int64)
        kinds_after = np.maximum(self._after[previous], 1.0)  # never seen: fall back to the unigram alone
        top = self._pairs[previous, ids] + kinds_after * self.unigram[ids]
        return float(-np.log(top / (self._total[previous] + kinds_after)).sum())

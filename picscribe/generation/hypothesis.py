"""What a search returns."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """One text: `tokens` without prompt and [SEP], and the log-probability of each, [SEP]'s last where it ended.

    `score` is what the search ranked by: the log-probability, length-normalised by a beam search. With scoring "git" a
    text that is cut at the limit counts the word after it in its score, as in the original code.
    """

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    score: float

    @property
    def confidence(self) -> float:
        """exp of the mean token log-probability, in [0, 1]."""
        if not self.log_probabilities:
            return 0.0
        return math.exp(math.fsum(self.log_probabilities) / len(self.log_probabilities))

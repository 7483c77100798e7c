"""What a search is to the loop: it chooses among each step's candidates, and says in the end what it found."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

NO_TOKEN = -1
"""Fills a history before its prompt begins, when prompts of different lengths share a batch."""

ALL = 0
"""As a number of candidates: the whole vocabulary, unsorted."""


@dataclass(frozen=True)
class Candidates:
    """The C likeliest next tokens of each of K beams of N texts, best first: `token` and `log_prob`, both (N, K, C).

    If every token was asked for (`ALL`), they are in the vocabulary's order, which costs no sorting.
    """

    token: Tensor
    log_prob: Tensor


@dataclass(frozen=True)
class Hypothesis:
    """One text: `tokens` without prompt and [SEP], and the log-probability of each, [SEP]'s last where it ended.

    `score` is what the search ranked by: the log-probability, length-normalised by a beam search. With scoring "git" a
    text that is cut at the limit counts the word after it in its score, as in the original code.
    """

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    score: float


class Chooser(Protocol):
    """Picks each step's tokens for N texts with `beams` lines each, and remembers what has ended."""

    beams: int
    width: int
    """Candidates that it wants of each line, or `ALL`."""
    done: Tensor

    @property
    def tokens(self) -> Tensor:
        """New tokens so far (N, K, steps)."""

    def wanted(self) -> Tensor | None:
        """Tokens (N, K, W) that are candidates however unlikely; NO_TOKEN for none."""

    def choose(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Which line each line continues from, and its next token, both (N, K)."""

    def select(self, texts: Tensor) -> None:
        """Go on with some of the texts only, by index (n,)."""

    def hypotheses(self) -> list[list[Hypothesis]]:
        """What was found for every text, best first."""

"""Counts runs of words, for the metrics that compare them."""

from collections import Counter
from collections.abc import Sequence

Ngram = tuple[str, ...]

LONGEST = 4
"""BLEU and CIDEr both look at runs of one to four words."""


def count_ngrams(tokens: Sequence[str], length: int) -> dict[Ngram, int]:
    """How often each run of `length` words occurs."""
    return Counter(zip(*(tokens[start:] for start in range(length)), strict=False))

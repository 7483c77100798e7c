"""ROUGE-L (Lin, ACL workshop 2004), to the digit as pycocoevalcap gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from picscribe.metrics.pairs import CaptionPairs, pair_captions

BETA = 1.2
"""How much more recall counts than precision."""


@dataclass(frozen=True)
class RougeScores:
    """The mean over the images, and each image's own, 0 to 1."""

    corpus: float
    per_item: dict[str, float]


def rouge_l(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> RougeScores:
    """F-measure of the longest common subsequence of words, raw captions in, tokenised inside.

    As pycocoevalcap has it: the best precision and the best recall over the references, which may come from two
    different ones. Raises InputError where predictions and references do not hold the same ids.
    """
    return rouge_of_pairs(pair_captions(predictions, references))


def rouge_of_pairs(pairs: CaptionPairs) -> RougeScores:
    """`rouge_l` of captions that are tokenised already."""
    per_item = dict(zip(pairs.ids, map(_score, pairs.predictions, pairs.references), strict=True))
    return RougeScores(fmean(per_item.values()), per_item)


def _score(prediction: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    # An empty caption is one empty word, so that it equals an empty reference and nothing is divided by 0.
    prediction = prediction or ("",)
    references = [reference or ("",) for reference in references]
    common = common_subsequences(prediction, references)
    precision = max(common) / len(prediction)
    recall = max(length / len(reference) for length, reference in zip(common, references, strict=True))
    if not precision:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_subsequences(first: Sequence[str], others: Sequence[Sequence[str]]) -> list[int]:
    """For each other, the length of the longest sequence of words that it and `first` hold in this order.

    Bit-parallel (Hyyrö, AWOCA 2004): bit i of `rows` is 0 where the table of lengths grows at word i of `first`, so
    that a word of the other updates the whole column at once.
    """
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << index
    every = (1 << len(first)) - 1
    lengths = []
    for other in others:
        rows = every
        for word in other:
            if place := places.get(word):
                found = rows & place
                rows = (rows + found) | (rows - found)
        lengths.append(len(first) - (rows & every).bit_count())
    return lengths

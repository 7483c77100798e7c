"""ROUGE-L (Lin, ACL workshop 2004), to the digit as pycocoevalcap gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from picscribe.evaluation.caption_pairs import CaptionPair, pair_captions
from picscribe.evaluation.ptb_tokenizer import tokenize

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
    per_item = {identity: _score(pair) for identity, pair in pair_captions(predictions, references, tokenize).items()}
    return RougeScores(fmean(per_item.values()), per_item)


def _score(pair: CaptionPair) -> float:
    # An empty caption is one empty word, so that it equals an empty reference and nothing is divided by 0.
    prediction = pair.prediction or ("",)
    references = [reference or ("",) for reference in pair.references]
    common = [common_subsequence(prediction, reference) for reference in references]
    precision = max(common) / len(prediction)
    recall = max(length / len(reference) for length, reference in zip(common, references, strict=True))
    if not precision:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest sequence of words that both hold in this order, not necessarily side by side."""
    longest = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for column, other in enumerate(second, start=1):
            diagonal, longest[column] = (
                longest[column],
                diagonal + 1 if word == other else max(longest[column], longest[column - 1]),
            )
    return longest[-1]

"""BLEU-1 to BLEU-4 (Papineni et al., ACL 2002), to the digit as pycocoevalcap gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from picscribe.metrics.ngrams import LONGEST, NumberedCaptions
from picscribe.metrics.pairs import CaptionPairs, pair_captions

TINY, SMALL = 1e-15, 1e-9
"""Added above and below each fraction line, so that no n-gram in common gives almost 0 rather than an error."""

FourScores = tuple[float, float, float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BleuScores:
    """BLEU-1, -2, -3, -4, each 0 to 1, of the whole corpus and of each image alone."""

    corpus: FourScores
    per_item: dict[str, FourScores]


def bleu(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> BleuScores:
    """BLEU of raw captions, one prediction and at least one reference an id; tokenised inside.

    The brevity penalty holds a prediction against its reference of the closest length, the shorter one of two equally
    close. The corpus score is computed from summed counts; it is not the mean of the scores per image. Raises
    InputError where predictions and references do not hold the same ids.
    """
    pairs = pair_captions(predictions, references)
    counts = bleu_counts(pairs)
    corpus, per_item = bleu_from_counts(counts.sum(axis=0)), bleu_from_counts(counts)
    return BleuScores(_four(corpus), {identity: _four(row) for identity, row in zip(pairs.ids, per_item, strict=True)})


def bleu_counts(pairs: CaptionPairs) -> Floats:
    """(M, 9) of M images: words of the closest reference, n-grams of each length proposed, n-grams that match."""
    captions, images = pairs.numbered, len(pairs.ids)
    proposed = [np.maximum(captions.lengths[:images] - shorter, 0) for shorter in range(LONGEST)]
    matched = []
    for part, found in zip(captions.ngrams, pairs.matches, strict=True):
        most = np.zeros_like(part.count)
        np.maximum.at(most, found.predicted, part.count[found.reference])
        own = part.caption < images
        matched.append(np.bincount(part.caption[own], np.minimum(part.count, most)[own], images))
    return np.stack([_closest_lengths(captions), *proposed, *matched], axis=-1).astype(np.float64)


def bleu_from_counts(counts: Floats) -> Floats:
    """BLEU-1 to -4, (..., 4), from counts as of `bleu_counts` or sums of them, (..., 9)."""
    reference_words, proposed, matched = np.split(counts, [1, 1 + LONGEST], axis=-1)
    ratio = (proposed[..., :1] + TINY) / (reference_words + SMALL)
    brevity = np.exp(1 - 1 / np.minimum(ratio, 1))
    precision = (matched + TINY) / (proposed + SMALL)
    return np.cumprod(precision, axis=-1) ** (1 / np.arange(1, LONGEST + 1)) * brevity


def _closest_lengths(captions: NumberedCaptions) -> NDArray[np.int64]:
    """(M,) words of the reference whose length is closest to the prediction's, the shorter of two equally close."""
    lengths = captions.lengths[captions.predictions :]
    order = np.lexsort((lengths, abs(lengths - captions.lengths[captions.image]), captions.image))
    return lengths[order][np.cumsum(captions.references) - captions.references]


def _four(row: Floats) -> FourScores:
    one, two, three, four = row.tolist()
    return one, two, three, four

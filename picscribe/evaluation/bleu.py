"""BLEU-1 to BLEU-4 (Papineni et al., ACL 2002), to the digit as pycocoevalcap gives it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from picscribe.evaluation.caption_pairs import CaptionPair, pair_captions
from picscribe.evaluation.ngrams import LONGEST, Ngram, count_ngrams

TINY, SMALL = 1e-15, 1e-9
"""Added above and below each fraction line, so that no n-gram in common gives almost 0 rather than an error."""

FourScores = tuple[float, float, float, float]


@dataclass(frozen=True)
class BleuScores:
    """BLEU-1, -2, -3, -4, each 0 to 1, of the whole corpus and of each image alone."""

    corpus: FourScores
    per_item: dict[str, FourScores]


@dataclass(frozen=True)
class _Counts:
    """Words on both sides and, for each n-gram length, how many there are and how many match."""

    prediction_words: int
    reference_words: int
    proposed: tuple[int, ...]
    matched: tuple[int, ...]


def bleu(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> BleuScores:
    """BLEU of raw captions, one prediction and at least one reference an id; tokenised inside.

    The brevity penalty holds a prediction against its reference of the closest length, the shorter one of two equally
    close. The corpus score is computed from summed counts; it is not the mean of the scores per image. Raises
    InputError where predictions and references do not hold the same ids.
    """
    counts = {identity: _count(pair) for identity, pair in pair_captions(predictions, references).items()}
    return BleuScores(_score(_sum(counts.values())), {identity: _score(count) for identity, count in counts.items()})


def _count(pair: CaptionPair) -> _Counts:
    words = len(pair.prediction)
    closest = min((abs(len(reference) - words), len(reference)) for reference in pair.references)[1]
    proposed = tuple(max(0, words - length + 1) for length in range(1, LONGEST + 1))
    matched = tuple(_matches(pair, length) for length in range(1, LONGEST + 1))
    return _Counts(words, closest, proposed, matched)


def _matches(pair: CaptionPair, length: int) -> int:
    most: dict[Ngram, int] = {}
    for reference in pair.references:
        for ngram, count in count_ngrams(reference, length).items():
            if count > most.get(ngram, 0):
                most[ngram] = count
    return sum(min(count, most.get(ngram, 0)) for ngram, count in count_ngrams(pair.prediction, length).items())


def _sum(counts: Iterable[_Counts]) -> _Counts:
    parts = list(counts)
    return _Counts(
        sum(part.prediction_words for part in parts),
        sum(part.reference_words for part in parts),
        tuple(map(sum, zip(*(part.proposed for part in parts), strict=True))),
        tuple(map(sum, zip(*(part.matched for part in parts), strict=True))),
    )


def _score(counts: _Counts) -> FourScores:
    ratio = (counts.prediction_words + TINY) / (counts.reference_words + SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for length, (proposed, matched) in enumerate(zip(counts.proposed, counts.matched, strict=True), start=1):
        product *= (matched + TINY) / (proposed + SMALL)
        scores.append(product ** (1 / length) * brevity)
    one, two, three, four = scores
    return one, two, three, four

"""CIDEr (Vedantam, Zitnick and Parikh, CVPR 2015): what papers report, its form CIDEr-D, and the plain form.

The paper defines two. Plain CIDEr is the mean cosine between the tf-idf vectors of prediction and reference, over
n-grams of one to four words. CIDEr-D, made so that it cannot be gamed, clips each n-gram's weight in the prediction
to that in the reference and multiplies by a Gaussian penalty on the difference in length, exp(-d²/(2·6²)); it is ten
times as large. What pycocoevalcap prints as "CIDEr", and with it every paper, is CIDEr-D (without the stemming that
the paper describes): `cider` here. The authors' own code (github.com/vrama91/cider) has the same under ciderD, and
plain CIDEr, also times ten and without stemming, under cider: `plain_cider` here. Both have 1.0 where papers write
100.

One detail is kept from that code: length is counted in pairs of words, so that an empty prediction is as long as one
word.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from picscribe.errors import InputError
from picscribe.evaluation.caption_pairs import pair_captions, read_caption, read_references, require_known
from picscribe.evaluation.document_frequencies import DocumentFrequencies
from picscribe.evaluation.ngrams import LONGEST, Ngram, count_ngrams

SIGMA = 6.0
SCALE = 10.0

Form = Literal["cider_d", "plain"]


@dataclass(frozen=True)
class CiderScores:
    """The mean over the images, and each image's own; 0: no n-gram in common, 10: a copy of the only reference."""

    corpus: float
    per_item: dict[str, float]


def cider(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    document_frequencies: DocumentFrequencies | None = None,
) -> CiderScores:
    """The CIDEr that papers report (CIDEr-D, see above) of raw captions; tokenised inside.

    Document frequencies are those of `references` where none are given, as in pycocoevalcap. So a score depends on
    the whole set: with one image alone every weight is log(1) = 0 and the score is 0.0, whatever the caption; give
    frequencies of a corpus then. Raises InputError where predictions and references do not hold the same ids.
    """
    return _score_all(predictions, references, document_frequencies, "cider_d")


def plain_cider(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    document_frequencies: DocumentFrequencies | None = None,
) -> CiderScores:
    """CIDEr without clipping and without penalty on length; not what papers report. Otherwise as `cider`."""
    return _score_all(predictions, references, document_frequencies, "plain")


def _score_all(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    document_frequencies: DocumentFrequencies | None,
    form: Form,
) -> CiderScores:
    pairs = pair_captions(predictions, references)
    if document_frequencies is None:
        document_frequencies = DocumentFrequencies.of_words(pair.references for pair in pairs.values())
    similarity = _Similarity(document_frequencies, form)
    per_item = {identity: similarity.scores([pair.prediction], pair.references)[0] for identity, pair in pairs.items()}
    return CiderScores(fmean(per_item.values()), per_item)


class CiderScorer:
    """Scores predictions for a fixed set of references, batch after batch, without tokenising or counting these again.

    `references` are raw captions by id; document frequencies are theirs where none are given.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[str]],
        document_frequencies: DocumentFrequencies | None = None,
        form: Form = "cider_d",
    ) -> None:
        self._references = read_references(references)
        self.document_frequencies = document_frequencies or DocumentFrequencies.of_words(self._references.values())
        self._similarity = _Similarity(self.document_frequencies, form)

    def score(self, predictions: Mapping[str, str]) -> CiderScores:
        """Score one raw prediction an id, for any of the ids; InputError where an id is unknown or there are none."""
        if not predictions:
            raise InputError("no predictions: at least one is needed for a score")
        per_item = {identity: self.score_captions(identity, [caption])[0] for identity, caption in predictions.items()}
        return CiderScores(fmean(per_item.values()), per_item)

    def score_captions(self, identity: str, captions: Sequence[str]) -> list[float]:
        """Score several raw captions of one image, such as samples of it in training; one score a caption."""
        require_known([identity], self._references)
        candidates = [read_caption(caption, f"prediction of {identity!r}") for caption in captions]
        return self._similarity.scores(candidates, self._references[identity])


@dataclass(frozen=True)
class _Vector:
    """tf-idf weights of a caption's n-grams, for each n-gram length apart, with their Euclidean norms."""

    weights: tuple[dict[Ngram, float], ...]
    norms: tuple[float, ...]
    word_pairs: int


class _Similarity:
    """Compares captions under given document frequencies."""

    def __init__(self, document_frequencies: DocumentFrequencies, form: Form) -> None:
        self._inverse = document_frequencies.weights()
        self._unseen = document_frequencies.unseen_weight
        self._form = form

    def scores(self, candidates: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> list[float]:
        """Mean similarity of each candidate to the references, times ten."""
        vectors = [self._vector(reference) for reference in references]
        return [self._mean(self._vector(candidate), vectors) for candidate in candidates]

    def _mean(self, candidate: _Vector, references: Sequence[_Vector]) -> float:
        return SCALE * fmean(_compare(candidate, reference, self._form) for reference in references)

    def _vector(self, tokens: Sequence[str]) -> _Vector:
        inverse, unseen = self._inverse, self._unseen
        weights = tuple(
            {ngram: count * inverse.get(ngram, unseen) for ngram, count in count_ngrams(tokens, length).items()}
            for length in range(1, LONGEST + 1)
        )
        norms = tuple(math.sqrt(sum(weight * weight for weight in part.values())) for part in weights)
        return _Vector(weights, norms, max(0, len(tokens) - 1))


def _compare(candidate: _Vector, reference: _Vector, form: Form) -> float:
    """Mean over the n-gram lengths of the cosine of two captions, clipped and penalised where `form` is CIDEr-D."""
    clipped = form == "cider_d"
    total = 0.0
    for length in range(LONGEST):
        norms = candidate.norms[length] * reference.norms[length]
        if not norms:
            continue
        others = reference.weights[length]
        product = 0.0
        for ngram, weight in candidate.weights[length].items():
            other = others.get(ngram)
            if other is not None:
                product += (other if clipped and other < weight else weight) * other
        total += product / norms
    difference = candidate.word_pairs - reference.word_pairs if clipped else 0
    return math.exp(-(difference**2) / (2 * SIGMA**2)) * total / LONGEST

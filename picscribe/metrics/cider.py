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

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from picscribe.errors import InputError
from picscribe.metrics.document_frequencies import DocumentFrequencies, inverse_frequencies
from picscribe.metrics.ngrams import LONGEST, Matches, NumberedCaptions
from picscribe.metrics.pairs import (
    CaptionPairs,
    pair_captions,
    read_caption,
    read_references,
    require_known,
)

SIGMA = 6.0
SCALE = 10.0

Form = Literal["cider_d", "plain"]
Floats = NDArray[np.float64]


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
    return cider_of_pairs(pair_captions(predictions, references), document_frequencies)


def plain_cider(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    document_frequencies: DocumentFrequencies | None = None,
) -> CiderScores:
    """CIDEr without clipping and without penalty on length; not what papers report. Otherwise as `cider`."""
    return cider_of_pairs(pair_captions(predictions, references), document_frequencies, "plain")


def cider_of_pairs(
    pairs: CaptionPairs, document_frequencies: DocumentFrequencies | None = None, form: Form = "cider_d"
) -> CiderScores:
    """`cider`, or `plain_cider`, of captions that are tokenised already."""
    similarity = Similarity(pairs.numbered, document_frequencies, form)
    return _scores(pairs.ids, similarity.scores(np.arange(len(pairs.ids)), pairs.matches))


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
        self.document_frequencies = document_frequencies or DocumentFrequencies.of_tokens(self._references.values())
        self._form: Form = form

    def score(self, predictions: Mapping[str, str]) -> CiderScores:
        """Score one raw prediction an id, for any of the ids; InputError where an id is unknown or there are none."""
        if not predictions:
            raise InputError("there are no predictions: give at least one")
        return _scores(predictions, self.score_batch(list(predictions), list(predictions.values())))

    def score_captions(self, identity: str, captions: Sequence[str]) -> list[float]:
        """Score several raw captions of one image, such as samples of it; one score a caption."""
        return self.score_batch([identity] * len(captions), captions).tolist()

    def score_batch(self, identities: Sequence[str], captions: Sequence[str]) -> Floats:
        """The scores, (N,), of N raw captions, each of the image with the id at its place; an id may come again.

        For training on samples: all of a batch at once. InputError where an id is unknown.
        """
        require_known(identities, self._references)
        if len(identities) != len(captions):
            raise InputError(f"each caption needs one id, found {len(identities)} ids and {len(captions)} captions")
        images = {identity: number for number, identity in enumerate(dict.fromkeys(identities))}
        numbered = NumberedCaptions(
            [
                read_caption(caption, f"prediction of {identity!r}")
                for identity, caption in zip(identities, captions, strict=True)
            ],
            [self._references[identity] for identity in images],
        )
        image = np.array([images[identity] for identity in identities], np.int64)
        return Similarity(numbered, self.document_frequencies, self._form).scores(image, numbered.match(image))


class Similarity:
    """tf-idf vectors of P predictions and of the references of M images, to be held against each other.

    Document frequencies are those of the references where none are given.
    """

    def __init__(
        self,
        captions: NumberedCaptions,
        document_frequencies: DocumentFrequencies | None = None,
        form: Form = "cider_d",
    ) -> None:
        self._captions, self._form = captions, form
        if document_frequencies is None:
            rarities = inverse_frequencies(len(captions.references), captions.document_counts)
        else:
            rarities = inverse_frequencies(document_frequencies.documents, document_frequencies.find(captions))
        self._weights, self._shrink = [], []
        for part, rarity in zip(captions.ngrams, rarities, strict=True):
            weights = part.count * rarity[part.ngram]
            norms = np.sqrt(np.bincount(part.caption, weights**2, len(captions.lengths)))
            self._weights.append(weights)
            # A vector without length has no direction, and shares nothing with any other.
            self._shrink.append(np.divide(1, norms, np.zeros_like(norms), where=norms > 0))

    def scores(self, images: NDArray[np.int64], matches: Sequence[Matches]) -> Floats:
        """(P,) mean similarity of each prediction to the references of its image, (P,), times ten."""
        captions, clipped = self._captions, self._form == "cider_d"
        word_pairs = np.maximum(captions.lengths - 1, 0)
        total = np.zeros(captions.predictions)
        for part, weights, shrink, found in zip(captions.ngrams, self._weights, self._shrink, matches, strict=True):
            prediction, reference = part.caption[found.predicted], part.caption[found.reference]
            own, other = weights[found.predicted], weights[found.reference]
            product = (np.minimum(own, other) if clipped else own) * other * shrink[prediction] * shrink[reference]
            if clipped:
                product *= np.exp(-((word_pairs[prediction] - word_pairs[reference]) ** 2) / (2 * SIGMA**2))
            total += np.bincount(prediction, product, captions.predictions)
        return SCALE * total / (LONGEST * captions.references[images])


def _scores(identities: Collection[str], scores: Floats) -> CiderScores:
    return CiderScores(float(scores.mean()), dict(zip(identities, scores.tolist(), strict=True)))

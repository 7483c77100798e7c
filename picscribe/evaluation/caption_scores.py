"""All scores of captions in one call, each caption tokenised and its n-grams counted once."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from picscribe.evaluation.bleu import bleu_counts, bleu_from_counts
from picscribe.evaluation.caption_pairs import CaptionPairs, pair_captions
from picscribe.evaluation.cider import cider_of_pairs
from picscribe.evaluation.diagnosis import distinct_share, shuffled_cider, vocabulary_share
from picscribe.evaluation.document_frequencies import DocumentFrequencies
from picscribe.evaluation.metric import Metric, mean_metric
from picscribe.evaluation.ngrams import LONGEST
from picscribe.evaluation.rouge import rouge_of_pairs


def score_captions(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    document_frequencies: DocumentFrequencies | None = None,
) -> dict[str, Metric]:
    """CIDEr, BLEU-1 to -4 and ROUGE-L of raw captions, and what tells a broken model, by name.

    "distinct", "vocabulary" and "CIDEr shuffled" (see diagnosis.py) are of the whole alone. CIDEr's document
    frequencies are those of `references` where none are given, and stay the same when images are drawn again. Raises
    InputError where predictions and references do not hold the same ids.
    """
    pairs = pair_captions(predictions, references)
    return {
        "CIDEr": mean_metric(cider_of_pairs(pairs, document_frequencies).per_item),
        **_bleu_metrics(pairs),
        "ROUGE-L": mean_metric(rouge_of_pairs(pairs).per_item),
        "distinct": Metric(distinct_share(pairs), {}),
        "vocabulary": Metric(vocabulary_share(pairs), {}),
        "CIDEr shuffled": Metric(shuffled_cider(pairs, document_frequencies), {}),
    }


def _bleu_metrics(pairs: CaptionPairs) -> dict[str, Metric]:
    """BLEU of a sample comes from summed counts, as that of the corpus does."""
    counts = bleu_counts(pairs)
    corpus, per_item = bleu_from_counts(counts.sum(axis=0)), bleu_from_counts(counts)

    def metric(order: int) -> Metric:
        def statistic(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
            return bleu_from_counts(drawn @ counts)[:, order]

        return Metric(float(corpus[order]), dict(zip(pairs.ids, per_item[:, order].tolist(), strict=True)), statistic)

    return {f"BLEU-{order + 1}": metric(order) for order in range(LONGEST)}

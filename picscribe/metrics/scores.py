"""All scores of a kind in one call: of captions, of answers and class names, and which of them a task gets."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from picscribe.errors import ConfigurationError
from picscribe.metrics.bleu import bleu_counts, bleu_from_counts
from picscribe.metrics.cider import cider_of_pairs
from picscribe.metrics.classification import contains_class, equal_class, top_k
from picscribe.metrics.diagnosis import distinct_share, shuffled_cider, vocabulary_share
from picscribe.metrics.document_frequencies import DocumentFrequencies
from picscribe.metrics.exact_match import exact_match, scene_text_accuracy
from picscribe.metrics.metric import Metric, mean_metric
from picscribe.metrics.named_things import named_things_of_pairs
from picscribe.metrics.ngrams import LONGEST
from picscribe.metrics.pairs import CaptionPairs, pair_captions
from picscribe.metrics.rouge import rouge_of_pairs
from picscribe.metrics.vqa_accuracy import vqa_accuracy

AnswerMetric = Literal["vqa-accuracy", "textvqa-accuracy", "exact-match", "classes", "scene-text"]
MetricName = Literal["captions"] | AnswerMetric

USUAL: dict[str, AnswerMetric] = {"textvqa": "textvqa-accuracy"}
"""The metric of data sets, by format, that have one of their own."""

Texts = Mapping[str, Sequence[str]]
"""What people said of each example, by id."""


def score_captions(
    predictions: Mapping[str, str],
    references: Texts,
    document_frequencies: DocumentFrequencies | None = None,
) -> dict[str, Metric]:
    """CIDEr, BLEU-1 to -4, ROUGE-L and named things of raw captions, and what tells a broken model, by name.

    "named things" is left out where no photo's references agree on one.
    "distinct", "vocabulary" and "CIDEr shuffled" (see diagnosis.py) are of the whole alone. CIDEr's document
    frequencies are those of `references` where none are given, and stay the same when images are drawn again. Raises
    InputError where predictions and references do not hold the same ids.
    """
    pairs = pair_captions(predictions, references)
    named_things = named_things_of_pairs(pairs)
    return {
        "CIDEr": mean_metric(cider_of_pairs(pairs, document_frequencies).per_item),
        **_bleu_metrics(pairs),
        "ROUGE-L": mean_metric(rouge_of_pairs(pairs).per_item),
        **({"named things": named_things} if named_things else {}),
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


def score_answers(predictions: Mapping[str, str], answers: Texts, metric: AnswerMetric) -> dict[str, Metric]:
    """Scores of one raw prediction an id ("" where there is none) against what people gave, by name.

    One score named as `metric`; for "classes" three: "top-1" (the prediction is the label), "equal" and "in" (see
    classification.py). Raises InputError where predictions and answers do not hold the same ids, and where the answers
    are none that the metric can use.
    """
    if metric not in _FAMILIES:
        raise ConfigurationError(f"metric must be one of {', '.join(get_args(AnswerMetric))}; found {metric!r}")
    return {name: score(predictions, answers) for name, score in _FAMILIES[metric].items()}


def _top_1(predictions: Mapping[str, str], labels: Texts) -> Metric:
    return top_k({identity: [prediction] for identity, prediction in predictions.items()}, labels, 1)


_FAMILIES: dict[str, dict[str, Callable[[Mapping[str, str], Texts], Metric]]] = {
    "vqa-accuracy": {"vqa-accuracy": vqa_accuracy},
    "textvqa-accuracy": {"textvqa-accuracy": partial(vqa_accuracy, form="textvqa")},
    "exact-match": {"exact-match": exact_match},
    "classes": {"top-1": _top_1, "equal": equal_class, "in": contains_class},
    "scene-text": {"scene-text": scene_text_accuracy},
}


def choose_metric(name: str | None, task: str, form: str, texts: Texts) -> MetricName:
    """The metric of a name, or where the name is None the usual one for a data set's task, format and texts by example.

    Captions may be asked to equal one of people's, too. Questions are scored by VQA accuracy where one has several
    annotators' answers, else by exact match. Raises ConfigurationError for a name that there is not, or that does not
    go with the task.
    """
    if task == "captions":
        if name not in (None, "captions", "exact-match"):
            raise ConfigurationError(f"{name!r} cannot score captions: leave the metric out, or use exact-match")
        return "exact-match" if name == "exact-match" else "captions"
    if name is None and form in USUAL:
        return USUAL[form]
    if name is None:
        several = any(len(answers) > 1 for answers in texts.values())
        return "classes" if task == "labels" else "vqa-accuracy" if several else "exact-match"
    for metric in get_args(AnswerMetric):
        if name == metric:
            return metric
    raise ConfigurationError(f"unknown metric {name!r} for {task}: choose among {', '.join(get_args(AnswerMetric))}")


def score(predictions: Mapping[str, str], references: Texts, metric: MetricName) -> dict[str, Metric]:
    """The scores of a kind of metric, by name."""
    if metric == "captions":
        return score_captions(predictions, references)
    return score_answers(predictions, references, metric)

"""Scores of answers and class names: which metrics belong to which kind of data, ready for reports and resampling."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

from picscribe.errors import ConfigurationError
from picscribe.evaluation.classification import contains_class, equal_class, top_k
from picscribe.evaluation.exact_match import exact_match
from picscribe.evaluation.metric import Metric
from picscribe.evaluation.scene_text import scene_text_accuracy
from picscribe.evaluation.vqa_accuracy import vqa_accuracy

AnswerMetric = Literal["vqa-accuracy", "textvqa-accuracy", "exact-match", "classes", "scene-text"]

Answers = Mapping[str, Sequence[str]]


def score_answers(predictions: Mapping[str, str], answers: Answers, metric: AnswerMetric) -> dict[str, Metric]:
    """Scores of one raw prediction an id ("" where there is none) against what people gave, by name.

    One score named as `metric`; for "classes" three: "top-1" (the prediction is the label), "equal" and "in" (see
    classification.py). Raises InputError where predictions and answers do not hold the same ids, and where the answers
    are none that the metric can use.
    """
    if metric not in _FAMILIES:
        raise ConfigurationError(f"metric must be one of {', '.join(get_args(AnswerMetric))}; found {metric!r}")
    return {name: score(predictions, answers) for name, score in _FAMILIES[metric].items()}


def _top_1(predictions: Mapping[str, str], labels: Answers) -> Metric:
    return top_k({identity: [prediction] for identity, prediction in predictions.items()}, labels, 1)


_FAMILIES: dict[str, dict[str, Callable[[Mapping[str, str], Answers], Metric]]] = {
    "vqa-accuracy": {"vqa-accuracy": vqa_accuracy},
    "textvqa-accuracy": {"textvqa-accuracy": partial(vqa_accuracy, form="textvqa")},
    "exact-match": {"exact-match": exact_match},
    "classes": {"top-1": _top_1, "equal": equal_class, "in": contains_class},
    "scene-text": {"scene-text": scene_text_accuracy},
}

"""Which metrics belong to which task: the usual ones, or those that a person names."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from picscribe.errors import ConfigurationError
from picscribe.evaluation.answer_scores import AnswerMetric, score_answers
from picscribe.evaluation.caption_scores import score_captions
from picscribe.evaluation.metric import Metric

MetricName = Literal["captions"] | AnswerMetric


USUAL: dict[str, AnswerMetric] = {"textvqa": "textvqa-accuracy"}
"""The metric of data sets, by format, that have one of their own."""


def choose_metric(name: str | None, task: str, form: str, texts: Mapping[str, Sequence[str]]) -> MetricName:
    """The metric of a name, or where the name is None the usual one for a data set's task, format and texts by example.

    Captions may be asked to equal one of people's, too. Questions are scored by VQA accuracy where one has several
    annotators' answers, else by exact match. Raises ConfigurationError for a name that there is not, or that does not
    go with the task.
    """
    if task == "captions":
        if name not in (None, "captions", "exact-match"):
            raise ConfigurationError(f"{name!r} cannot score captions; leave the metric out, or take exact-match")
        return "exact-match" if name == "exact-match" else "captions"
    if name is None and form in USUAL:
        return USUAL[form]
    if name is None:
        several = any(len(answers) > 1 for answers in texts.values())
        return "classes" if task == "labels" else "vqa-accuracy" if several else "exact-match"
    for metric in get_args(AnswerMetric):
        if name == metric:
            return metric
    raise ConfigurationError(f"no metric {name!r} for {task}; there are {', '.join(get_args(AnswerMetric))}")


def score(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], metric: MetricName
) -> dict[str, Metric]:
    """The scores of a kind of metric, by name."""
    if metric == "captions":
        return score_captions(predictions, references)
    return score_answers(predictions, references, metric)

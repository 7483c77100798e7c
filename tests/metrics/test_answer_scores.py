"""Scores of answers by kind of data: the same as the metrics asked alone, and errors that name ids."""

from typing import Any, get_args

import numpy as np
import pytest

from picscribe.errors import ConfigurationError, InputError
from picscribe.metrics.classification import contains_class, equal_class, top_k
from picscribe.metrics.exact_match import exact_match, scene_text_accuracy
from picscribe.metrics.scores import AnswerMetric, score_answers
from picscribe.metrics.vqa_accuracy import vqa_accuracy

ANSWERS = {"1": ["yes", "Yes"] * 5, "2": ["a dog", "dog", "dogs", "cat"], "3": ["red, blue", "green", "grey", "red"]}
PREDICTIONS = {"3": "a red one", "1": "yes.", "2": "Dog"}
METRICS = get_args(AnswerMetric)


@pytest.mark.parametrize(
    ("metric", "alone"),
    [
        ("vqa-accuracy", {"vqa-accuracy": vqa_accuracy}),
        ("exact-match", {"exact-match": exact_match}),
        ("scene-text", {"scene-text": scene_text_accuracy}),
        (
            "classes",
            {
                "top-1": lambda p, a: top_k({i: [text] for i, text in p.items()}, a, 1),
                "equal": equal_class,
                "in": contains_class,
            },
        ),
    ],
)
def test_scores_are_those_of_the_metrics_alone(metric: AnswerMetric, alone: dict[str, Any]) -> None:
    scores = score_answers(PREDICTIONS, ANSWERS, metric)
    assert list(scores) == list(alone)
    for name, score in scores.items():
        expected = alone[name](PREDICTIONS, ANSWERS)
        assert (score.value, score.per_item) == (expected.value, expected.per_item)
        assert list(score.per_item) == ["1", "2", "3"]
        assert score.statistic is not None
        drawn = np.array([[1.0, 1, 1], [0, 3, 0]])
        assert score.statistic(drawn) == pytest.approx([score.value, score.per_item["2"]])


def test_every_metric_is_there() -> None:
    assert set(METRICS) == {"vqa-accuracy", "textvqa-accuracy", "exact-match", "classes", "scene-text"}
    for metric in METRICS:
        assert score_answers(PREDICTIONS, ANSWERS, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("predictions", "answers", "named"),
    [
        ({"a": "x"}, {}, "no answers"),
        ({"a": "x"}, {"a": ["x"] * 4, "b": ["y"] * 4}, "1 of 2 examples have answers but no prediction: 'b'"),
        ({"a": "x", "c": "y"}, {"a": ["x"] * 4}, "1 of 2 predictions have no answers: 'c'"),
        ({str(n): "x" for n in range(9)}, {"0": ["x"] * 4}, "8 of 9 .*'1', '2', '3', '4', '5' and 3 more"),
        ({"a": None}, {"a": ["x"] * 4}, "'a'.*None"),
        ({"a": "x"}, {"a": "xxxx"}, "answers of 'a' must be a list of texts, found 'xxxx'"),
        ({"a": "x"}, {"a": ["x", 3, "x", "x"]}, "answers of 'a' must be a list of texts"),
        ({"a": "x"}, {"a": []}, "answers of 'a' are empty"),
    ],
)
def test_what_does_not_fit_is_named(metric: AnswerMetric, predictions: Any, answers: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        score_answers(predictions, answers, metric)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="vqa-accuracy, exact-match, classes, scene-text; found 'anls'"):
        score_answers(PREDICTIONS, ANSWERS, "anls")  # type: ignore[arg-type]

"""Which metric scores what, unless a person says otherwise."""

import pytest

from picscribe.errors import ConfigurationError
from picscribe.metrics.scores import choose_metric

ONE, TEN = {"1": ["yes"]}, {"1": ["yes"], "2": ["no"] * 10}


@pytest.mark.parametrize(
    ("task", "form", "texts", "metric"),
    [
        ("captions", "coco-captions", TEN, "captions"),
        ("questions", "vqa", TEN, "vqa-accuracy"),
        ("questions", "textvqa", TEN, "textvqa-accuracy"),
        ("questions", "video-questions", ONE, "exact-match"),
        ("labels", "class-folders", ONE, "classes"),
    ],
)
def test_each_task_has_its_usual_metric(task: str, form: str, texts: dict[str, list[str]], metric: str) -> None:
    assert choose_metric(None, task, form, texts) == metric
    assert choose_metric(metric, task, form, texts) == metric


@pytest.mark.parametrize(
    ("name", "task", "words"),
    [
        ("vqa-accuracy", "captions", "'vqa-accuracy' cannot score captions"),
        ("captions", "labels", "unknown metric 'captions' for labels: choose among vqa-accuracy"),
        ("", "questions", "unknown metric '' for questions"),
    ],
)
def test_a_metric_of_another_task_is_refused(name: str, task: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        choose_metric(name, task, "vqa", TEN)

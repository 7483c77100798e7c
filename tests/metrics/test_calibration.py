"""Calibration: which answers a threshold keeps, and how right these are."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picscribe.errors import InputError
from picscribe.metrics import Confident, calibrate


def test_a_threshold_keeps_what_is_as_sure_and_tells_how_right_it_is() -> None:
    confidences = {"a": 0.95, "b": 0.8, "c": 0.79, "d": 0.2, "unjudged": 0.9, "unknown": 0.85}
    scores = {"a": 1.0, "b": 0.0, "c": 1.0, "d": 0.0, "unjudged": math.nan}
    assert calibrate(confidences, scores, (0.0, 0.8, 0.96)) == [
        Confident(0.0, 6, 1.0, 4, 0.5),
        Confident(0.8, 4, 4 / 6, 2, 0.5),
        Confident(0.96, 0, 0.0, 0, None),
    ]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_all_answers_are_kept_at_0_and_ever_fewer_after(answers: list[tuple[float, float]]) -> None:
    confidences = {str(k): confidence for k, (confidence, _) in enumerate(answers)}
    scores = {str(k): score for k, (_, score) in enumerate(answers)}
    levels = calibrate(confidences, scores)
    assert levels[0].kept == levels[0].judged == len(answers)
    assert levels[0].right == pytest.approx(sum(score for _, score in answers) / len(answers))
    assert [level.kept for level in levels] == sorted((level.kept for level in levels), reverse=True)


@pytest.mark.parametrize("confidences", [{}, {"a": 1.5}, {"a": math.nan}])
def test_an_invalid_confidence_is_named(confidences: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"no confidences|'a' must be from 0 to 1"):
        calibrate(confidences, {"a": 1.0})

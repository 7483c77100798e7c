"""Exact match: the same text but for case and the spaces at the ends, nothing else."""

import pytest

from picscribe.errors import InputError
from picscribe.metrics.exact_match import exact_match


@pytest.mark.parametrize(
    ("prediction", "answers", "right"),
    [
        ("dog", ["dog"], True),
        (" Dog\n", ["dog"], True),
        ("dog", ["DOG "], True),
        ("dog", ["cat", "dog"], True),
        ("dog", ["cat", "dogs"], False),
        ("dogs", ["dog"], False),
        ("a dog", ["dog"], False),
        ("dog.", ["dog"], False),
        ("two", ["2"], False),
        ("two  dogs", ["two dogs"], False),
        ("", ["dog"], False),
        ("", [""], False),
        ("  ", [" "], False),
    ],
)
def test_what_is_right(prediction: str, answers: list[str], right: bool) -> None:
    assert exact_match({"q": prediction}, {"q": answers}).value == right


def test_the_value_is_the_share_in_the_order_of_the_answers() -> None:
    metric = exact_match({"c": "x", "a": "dog", "b": "Cat"}, {"a": ["dog"], "b": ["cat"], "c": ["owl"]})
    assert metric.per_item == {"a": 1, "b": 1, "c": 0}
    assert list(metric.per_item) == ["a", "b", "c"]
    assert metric.value == pytest.approx(2 / 3)


def test_ids_must_agree() -> None:
    with pytest.raises(InputError, match="1 of 2 examples have answers but no prediction: 'b'"):
        exact_match({"a": "dog"}, {"a": ["dog"], "b": ["cat"]})

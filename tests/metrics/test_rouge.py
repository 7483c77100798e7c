"""ROUGE-L against a slow second implementation that tries every subsequence."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picscribe.metrics import rouge_l
from picscribe.metrics.rouge import common_subsequences

words = st.lists(st.sampled_from(["dog", "café", "日本"]), max_size=7)
long_words = st.lists(st.sampled_from(["dog", "cat", "runs", "a", "wall"]), min_size=60, max_size=90)


def slow_common(first: list[str], second: list[str]) -> int:
    """The longest of all subsequences of `first` that is one of `second` too."""
    of_second = {chosen for size in range(len(second) + 1) for chosen in combinations(second, size)}
    return max(size for size in range(len(first) + 1) for c in combinations(first, size) if c in of_second)


@given(words, st.lists(words, max_size=3))
def test_longest_common_subsequence(first: list[str], others: list[list[str]]) -> None:
    assert common_subsequences(first, others) == [slow_common(first, other) for other in others]


def table_common(first: list[str], second: list[str]) -> int:
    """The textbook's table, row by row, for captions too long to try every subsequence of."""
    longest = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for k, other in enumerate(second):
            longest[i + 1][k + 1] = longest[i][k] + 1 if one == other else max(longest[i][k + 1], longest[i + 1][k])
    return longest[-1][-1]


@given(long_words, long_words)
def test_longest_common_subsequence_of_long_captions(first: list[str], second: list[str]) -> None:
    """Longer than a machine word has bits."""
    assert common_subsequences(first, [second, first]) == [table_common(first, second), len(first)]


@given(words.filter(bool), st.lists(words.filter(bool), min_size=1, max_size=3))
def test_rouge_is_its_definition(prediction: list[str], references: list[list[str]]) -> None:
    precision = max(slow_common(prediction, ref) / len(prediction) for ref in references)
    recall = max(slow_common(prediction, ref) / len(ref) for ref in references)
    expected = 2.44 * precision * recall / (recall + 1.44 * precision) if precision else 0
    ours = rouge_l({"a": " ".join(prediction)}, {"a": [" ".join(ref) for ref in references]})
    assert ours.corpus == ours.per_item["a"] == pytest.approx(expected)


def test_nothing_against_nothing_is_a_match() -> None:
    """As in pycocoevalcap, where an empty caption is one empty word."""
    assert rouge_l({"a": ""}, {"a": ["."]}).corpus == pytest.approx(1)

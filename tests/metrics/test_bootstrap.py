"""Bootstrap intervals and the paired test: against every possible sample, the normal approximation, and simulations."""

from collections.abc import Sequence
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from picscribe.errors import ConfigurationError, InputError
from picscribe.metrics import bootstrap
from picscribe.metrics.bootstrap import PairedDifference, Resampling, compare_paired, intervals
from picscribe.metrics.metric import Metric, mean_metric


def metric_of(values: Sequence[float]) -> Metric:
    return mean_metric({str(place): float(value) for place, value in enumerate(values)})


def ratio_metric(above: Sequence[float], below: Sequence[float]) -> Metric:
    """A metric that is no mean of its examples', as BLEU is none."""
    one, other = np.array(above), np.array(below)
    per_item = {str(place): float(value) for place, value in enumerate(one / other)}
    return Metric(float(one.sum() / other.sum()), per_item, lambda drawn: (drawn @ one) / (drawn @ other))


def test_intervals_as_of_all_samples_there_are() -> None:
    """Three examples have 27 samples, each as likely."""
    above, below = [1.0, 5.0, 2.0], [4.0, 1.0, 7.0]
    every = [sum(above[k] for k in s) / sum(below[k] for k in s) for s in product(range(3), repeat=3)]
    lower, upper = intervals({"ratio": ratio_metric(above, below)}, Resampling(samples=20_000, level=0.6))["ratio"]
    cuts = sorted(every)
    assert cuts[4] <= lower <= cuts[6]
    assert cuts[20] <= upper <= cuts[22]


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(5).normal(3, 2, size=2000)
    for level in (0.5, 0.9, 0.99):
        lower, upper = intervals({"mean": metric_of(values)}, Resampling(4000, level))["mean"]
        half = NormalDist().inv_cdf((1 + level) / 2) * values.std() / np.sqrt(2000)
        assert lower == pytest.approx(values.mean() - half, abs=0.12 * half)
        assert upper == pytest.approx(values.mean() + half, abs=0.12 * half)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    source = np.random.default_rng(11)
    covered = 0
    for seed in range(400):
        scores = {"share": metric_of(source.random(80) < 0.4)}
        lower, upper = intervals(scores, Resampling(samples=400, seed=seed))["share"]
        covered += lower <= 0.4 <= upper
    assert 0.90 <= covered / 400 <= 0.985


def test_all_metrics_are_of_the_same_draws() -> None:
    values = np.random.default_rng(1).random(50)
    scores = {"one": metric_of(values), "other": metric_of(values * 2 + 1), "alone": Metric(3.0, {})}
    found = intervals(scores, Resampling(300))
    assert list(found) == ["one", "other"]
    assert found["other"] == pytest.approx([2 * end + 1 for end in found["one"]])
    assert intervals({"one": scores["one"]}, Resampling(300))["one"] == found["one"]
    assert intervals({"alone": scores["alone"]}, Resampling()) == {}


def test_a_seed_gives_the_same_again_and_another_gives_another() -> None:
    scores = {"one": metric_of(np.random.default_rng(2).random(60))}
    assert intervals(scores, Resampling(seed=4)) == intervals(scores, Resampling(seed=4))
    assert intervals(scores, Resampling(seed=4)) != intervals(scores, Resampling(seed=5))


def test_draws_are_of_as_many_examples_as_there_are() -> None:
    drawn = np.concatenate(list(bootstrap._draws(30, 2000, 0)))
    assert drawn.shape == (2000, 30)
    assert (drawn.sum(axis=1) == 30).all()
    # Each count is binomial of 30 in 30: mean 1, variance 29/30.
    assert drawn.mean(axis=0) == pytest.approx(np.ones(30), abs=0.12)
    assert drawn.var() == pytest.approx(29 / 30, abs=0.03)


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_chunked_is_in_one_go(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"ratio": ratio_metric(np.arange(40.0), np.arange(2.0, 42))}
    other = ratio_metric(np.arange(40.0)[::-1], np.arange(2.0, 42))
    whole = intervals(scores, Resampling(100)), compare_paired(scores["ratio"], other, Resampling(100))
    sizes = []
    monkeypatch.setattr(bootstrap, "CHUNK_BYTES", rows * 40 * 8 + 5)
    statistic = scores["ratio"].statistic
    assert statistic is not None
    watched = Metric(0.0, scores["ratio"].per_item, lambda drawn: (sizes.append(len(drawn)), statistic(drawn))[1])
    assert intervals({"ratio": watched}, Resampling(100)) == whole[0]
    assert compare_paired(scores["ratio"], other, Resampling(100)) == whole[1]
    assert max(sizes) == rows
    assert sum(sizes) == 100


def test_a_chunk_is_bounded_for_many_examples() -> None:
    assert next(bootstrap._draws(200_000, 1000, 0)).nbytes <= 64 * 2**20


def test_the_same_twice_is_no_difference() -> None:
    metric = metric_of(np.random.default_rng(0).random(100))
    assert compare_paired(metric, metric, Resampling()) == PairedDifference(0.0, (0.0, 0.0), 1.0)


def test_the_paired_test_as_of_all_samples_there_are() -> None:
    first, second = [0.1, 0.9, 0.8], [0.3, 0.2, 0.6]
    found = np.mean(first) - np.mean(second)
    every = [np.mean([first[k] - second[k] for k in s]) for s in product(range(3), repeat=3)]
    other_way = min(np.mean(np.array(every) <= 1e-12), np.mean(np.array(every) >= -1e-12))
    result = compare_paired(metric_of(first), metric_of(second), Resampling(20_000))
    assert result.difference == pytest.approx(found)
    assert result.p_value == pytest.approx(2 * other_way, abs=0.015)
    assert min(every) - 1e-12 <= result.interval[0] < found < result.interval[1] <= max(every) + 1e-12


def test_p_is_even_where_there_is_no_difference() -> None:
    source = np.random.default_rng(8)
    p_values = []
    for seed in range(400):
        shared = source.normal(size=60)
        first, second = shared + source.normal(size=60), shared + source.normal(size=60)
        p_values.append(compare_paired(metric_of(first), metric_of(second), Resampling(200, seed=seed)).p_value)
    for level in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=0.07)


def test_a_difference_is_found_and_pairing_helps() -> None:
    source = np.random.default_rng(9)
    shared = source.normal(0, 5, size=300)
    first, second = shared + 0.5 + source.normal(0, 1, size=300), shared + source.normal(0, 1, size=300)
    result = compare_paired(metric_of(first), metric_of(second), Resampling())
    assert result.p_value == 2 / 1001
    assert result.interval[0] > 0
    turned = compare_paired(metric_of(second), metric_of(first), Resampling())
    assert turned.difference == -result.difference
    assert turned.interval == pytest.approx((-result.interval[1], -result.interval[0]))
    assert turned.p_value == result.p_value
    unpaired = compare_paired(metric_of(first), metric_of(source.permutation(second)), Resampling())
    assert unpaired.p_value > 0.05


def test_interval_and_p_value_agree() -> None:
    """A skewed score, as CIDEr's is, and differences about as large as chance makes them."""
    source, sides = np.random.default_rng(4), set()
    for seed in range(60):
        first, second = source.exponential(size=80) ** 2, source.exponential(1.15, size=80) ** 2
        result = compare_paired(metric_of(first), metric_of(second), Resampling(400, seed=seed))
        low, high = result.interval
        if abs(result.p_value - 0.05) > 0.012:  # the quantile falls between two samples
            assert (low > 0 or high < 0) == (result.p_value < 0.05)
            sides.add(result.p_value < 0.05)
    assert sides == {True, False}


def test_p_is_never_0() -> None:
    assert compare_paired(metric_of([1.0] * 50), metric_of([0.0] * 50), Resampling(99)).p_value == 2 / 100


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (mean_metric({"a": 1.0, "c": 1.0}), "first and second .* example 1 is 'b' in one and 'c' in the other"),
        (mean_metric({"b": 1.0, "a": 1.0}), "example 0 is 'a' in one and 'b' in the other"),
        (mean_metric({"a": 1.0}), "2 examples and 1"),
        (Metric(1.0, {"a": 1.0, "b": 1.0}), "second: has no scores per example"),
        (Metric(1.0, {}), "second: has no scores per example"),
    ],
)
def test_what_cannot_be_compared_is_named(other: Metric, named: str) -> None:
    metric = mean_metric({"a": 0.0, "b": 1.0})
    with pytest.raises(InputError, match=named):
        compare_paired(metric, other, Resampling())
    if other.statistic is not None:
        with pytest.raises(InputError, match="must have the same examples in the same order"):
            intervals({"one": metric, "other": other}, Resampling())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"samples": 0}, "samples"),
        ({"samples": 10.5}, "samples"),
        ({"samples": True}, "samples"),
        ({"level": 0}, "level"),
        ({"level": 1}, "level"),
        ({"level": 95}, "level must be between 0 and 1, as 0.95 is, found 95"),
        ({"level": float("nan")}, "level"),
        ({"level": "0.9"}, "level"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed"),
    ],
)
def test_options_are_checked(options: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Resampling(**options)

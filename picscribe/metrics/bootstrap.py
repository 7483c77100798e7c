"""How sure a score is: bootstrap intervals, and the paired test between two predictions for one data set.

The examples are resampled, as many as there are, with replacement, and the metric is computed of each sample (Efron
and Tibshirani, An Introduction to the Bootstrap, 1993). This tells how the score would differ on other images of the
same kind. It does not tell how another training run would differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from picscribe.errors import ConfigurationError, InputError
from picscribe.metrics.metric import Metric, Statistic

CHUNK_BYTES = 64 * 2**20
"""The most memory that draws take at a time: 41 samples of 200,000 examples."""


@dataclass(frozen=True)
class Resampling:
    """How many samples to draw, the share of them an interval holds, and the seed that gives the same draws again."""

    samples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if type(self.samples) is not int or self.samples < 1:
            raise ConfigurationError(f"samples must be a whole number of at least 1, found {self.samples!r}")
        if type(self.level) not in (int, float) or not 0 < self.level < 1:
            raise ConfigurationError(f"level must be between 0 and 1, as 0.95 is, found {self.level!r}")
        if type(self.seed) is not int or self.seed < 0:
            raise ConfigurationError(f"seed must be a whole number of at least 0, found {self.seed!r}")


@dataclass(frozen=True)
class PairedDifference:
    """First score minus second, the interval of that difference, and how likely one as large is if there is none."""

    difference: float
    interval: tuple[float, float]
    p_value: float


def intervals(scores: Mapping[str, Metric], resampling: Resampling) -> dict[str, tuple[float, float]]:
    """The percentile interval (lower, upper) of each metric; those without a statistic are left out.

    One set of draws serves all metrics. Raises InputError where they are not of the same examples in the same order.
    """
    measured = {name: metric for name, metric in scores.items() if metric.statistic is not None}
    if not measured:
        return {}
    samples = _resample(measured, resampling)
    return {name: _interval(values, resampling.level) for name, values in zip(measured, samples, strict=True)}


def compare_paired(first: Metric, second: Metric, resampling: Resampling) -> PairedDifference:
    """Whether two scores over the same examples differ by more than the choice of examples explains.

    Both are computed of the same draws (paired bootstrap: Koehn, EMNLP 2004). The two-sided p-value is twice the share
    of samples in which the difference is 0 or of the other sign, with 1 added above and below so that it is never 0;
    so it is below 0.05 where the 95 % interval leaves 0 out, and only there, apart from that 1. Raises InputError where
    the metrics do not hold the same examples in the same order or have no statistic.
    """
    samples = _resample({"first": first, "second": second}, resampling)
    differences = samples[0] - samples[1]
    # Sums of the same terms in another order differ in their last digits: that is no difference.
    tiny = 1e-12 * max(1.0, abs(first.value), abs(second.value))
    other_way = min(int((differences <= tiny).sum()), int((differences >= -tiny).sum()))
    p_value = min(1.0, 2 * (1 + other_way) / (1 + resampling.samples))
    return PairedDifference(first.value - second.value, _interval(differences, resampling.level), p_value)


def _interval(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    lower, upper = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


def _resample(scores: Mapping[str, Metric], resampling: Resampling) -> NDArray[np.float64]:
    """The value of every metric in every sample, (metrics, samples)."""
    statistics = _statistics(scores)
    examples = len(next(iter(scores.values())).per_item)
    chunks = [
        [statistic(drawn) for statistic in statistics]
        for drawn in _draws(examples, resampling.samples, resampling.seed)
    ]
    return np.concatenate([np.array(chunk, dtype=np.float64) for chunk in chunks], axis=1)


def _statistics(scores: Mapping[str, Metric]) -> Sequence[Statistic]:
    statistics = []
    name_of_first, first = next(iter(scores.items()))
    order = list(first.per_item)
    for name, metric in scores.items():
        if metric.statistic is None or not metric.per_item:
            raise InputError(f"{name}: has no scores per example, which resampling needs: choose another metric")
        if list(metric.per_item) != order:
            raise InputError(
                f"{name_of_first} and {name} must have the same examples in the same order: "
                f"{_odd_one(order, list(metric.per_item))}"
            )
        statistics.append(metric.statistic)
    return statistics


def _odd_one(first: list[str], second: list[str]) -> str:
    if len(first) != len(second):
        return f"{len(first)} examples and {len(second)}"
    place = next(place for place, (one, other) in enumerate(zip(first, second, strict=True)) if one != other)
    return f"example {place} is {first[place]!r} in one and {second[place]!r} in the other"


def _draws(examples: int, samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each example is in each sample, (some samples, examples); the same numbers however they are chunked."""
    random = np.random.default_rng(seed)
    rows = max(1, CHUNK_BYTES // (8 * examples))
    for start in range(0, samples, rows):
        drawn = np.empty((min(rows, samples - start), examples))
        for row in drawn:
            row[:] = np.bincount(random.integers(0, examples, size=examples), minlength=examples)
        yield drawn

"""What every metric gives to reports: a value, each example's own, and how it changes with the sample."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From how often each of N examples was drawn in each of R samples, (R, N), to each sample's value, (R,)."""


@dataclass(frozen=True)
class Metric:
    """A score over a data set. `per_item` is empty, `statistic` None, for what only the whole has.

    `per_item` and `statistic` have the examples in one order, that of the references. An example that does not count,
    such as a photo whose references agree on nothing, has nan.
    """

    value: float
    per_item: Mapping[str, float]
    statistic: Statistic | None = None


def mean_metric(per_item: Mapping[str, float]) -> Metric:
    """The metric that is the mean of its examples' scores."""
    values = np.array(list(per_item.values()), dtype=np.float64)
    return Metric(float(values.mean()), per_item, lambda drawn: drawn @ values / drawn.sum(axis=1))


def scores_of(identity: str, scores: Mapping[str, Metric]) -> dict[str, float]:
    """One example's own scores, by the metric's name, without those in which it does not count."""
    own = {name: metric.per_item[identity] for name, metric in scores.items() if metric.per_item}
    return {name: score for name, score in own.items() if not math.isnan(score)}

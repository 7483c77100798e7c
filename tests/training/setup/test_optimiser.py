"""The schedule of the learning rate."""

import pytest

from picscribe.training.setup.optimiser import scale_learning_rate

pytest.importorskip("accelerate")


def test_the_learning_rate_rises_in_a_line_and_falls_in_a_cosine() -> None:
    factors = [scale_learning_rate(step, 10, 110) for step in range(110)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == max(factors) == 1
    assert factors[60] == pytest.approx(0.5)
    falls = factors[10:]
    assert falls == sorted(falls, reverse=True)
    assert 0 < factors[-1] < 1e-3
    steepest = max(range(len(falls) - 1), key=lambda step: falls[step] - falls[step + 1])
    assert abs(steepest - 50) <= 1


@pytest.mark.parametrize(("warmup", "total"), [(0, 5), (5, 5), (9, 5), (0, 1)])
def test_the_learning_rate_is_sound_at_the_edges(warmup: int, total: int) -> None:
    factors = [scale_learning_rate(step, warmup, total) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)

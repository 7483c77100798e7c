"""The smoothed loss against the divergence written out."""

import pytest
import torch

from picscribe.training.objectives.loss import smoothed_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_equals_the_divergence_from_smoothed_targets(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 11, dtype=torch.float64), torch.tensor([0, 3, 10, 3, 7])
    wanted = torch.full((5, 11), smoothing / 10, dtype=torch.float64)
    wanted[range(5), targets] = 1 - smoothing
    divergence = torch.where(wanted > 0, wanted * (wanted.log() - logits.log_softmax(-1)), 0.0).sum(-1).mean()
    torch.testing.assert_close(smoothed_loss(logits, targets, smoothing).double(), divergence, rtol=1e-5, atol=1e-6)


def test_a_model_that_says_exactly_the_smoothed_targets_has_no_loss() -> None:
    probabilities = torch.full((1, 5), 0.1 / 4)
    probabilities[0, 2] = 0.9
    assert abs(float(smoothed_loss(probabilities.log(), torch.tensor([2]), 0.1))) < 1e-6

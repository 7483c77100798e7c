"""The loss of people's words, and features that are hidden from the decoder."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from picscribe.training import Recipe, train
from picscribe.training.loop import Trainer
from picscribe.training.objectives.objective import smoothed_loss
from picscribe.training.recipe import (
    WeightSettings,
)
from tests.training.tiny_runs import (
    silent,
)

pytest.importorskip("accelerate")


def test_a_part_of_each_image_is_hidden(recipe: Recipe, tmp_path: Path) -> None:
    """While it learns, the decoder sees some features of each image, others of another; all of them afterwards."""
    hiding = replace(recipe, weights=WeightSettings(image_dropout=0.4, dropout=0.0))
    trainer = Trainer(hiding, tmp_path, silent)
    pixels = torch.randn(3, 3, 32, 32)
    trainer.learner.model.train()
    all_of_them, seen = trainer.learner.model.visual_features(pixels), trainer.learner.objective.encode(pixels)
    assert (all_of_them.shape[1], seen.shape[1]) == (5, 3)
    places = [
        [all_of_them[image].isclose(one, atol=1e-5).all(-1).nonzero().item() for one in seen[image]]
        for image in range(3)
    ]
    assert all(one == sorted(set(one)) for one in places), "each once, in their order"
    drawn = {tuple(trainer.learner.objective.encode(pixels)[0, :, 0].tolist()) for _ in range(20)}
    assert len(drawn) > 3
    trainer.learner.model.eval()
    assert torch.equal(trainer.learner.objective.encode(pixels), trainer.learner.model.visual_features(pixels))
    assert math.isfinite(train(hiding, tmp_path / "run", report=silent)[-1]["loss"])


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

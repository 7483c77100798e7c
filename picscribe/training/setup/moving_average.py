"""The moving average of the weights, which is what is validated and kept."""

import torch
from torch import nn


@torch.no_grad()
def move_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move `average` towards the model's weights after a step, from 0 on: faster at first, when it is mostly the start.

    Weights that do not learn are left alone.
    """
    decay = min(decay, (step + 1) / (step + 10))
    for averaged, weight in zip(average.parameters(), model.parameters(), strict=True):
        if weight.requires_grad:
            averaged.lerp_(weight, 1 - decay)

"""How weights move: AdamW with two learning rates, their schedule, and the moving average of the weights."""

import math

import torch
from torch import nn

from picscribe.errors import ConfigurationError
from picscribe.model import Git
from picscribe.training.recipe import OptimisationSettings

CLIP_NORM = 1.0
"""The longest gradient of a step."""


def count_trained_parameters(model: nn.Module) -> tuple[int, int]:
    """How many numbers the network has, and how many of them learn."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def make_optimiser(model: Git, settings: OptimisationSettings) -> torch.optim.AdamW:
    """AdamW; `peak_lr` of each group is what the schedule scales. Raises ConfigurationError where nothing learns.

    Matrices decay; biases, norms and embeddings do not.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        of_encoder = name.startswith("image_encoder.")
        rate = settings.encoder_learning_rate if of_encoder else settings.learning_rate
        decays = parameter.dim() > 1 and "embedding" not in name
        groups.setdefault((rate, settings.weight_decay if decays else 0.0), []).append(parameter)
    if not groups:
        raise ConfigurationError("no weights are left to train: change weights.train or weights.frozen_blocks")
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        betas=(0.9, 0.98),
    )


def scale_learning_rate(step: int, warmup: int, total: int) -> float:
    """The schedule's factor for a step, from 0 on: linear warm-up, then a cosine to 0 at the end."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


@torch.no_grad()
def move_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move `average` towards the model's weights after a step, from 0 on: faster at first, when it is mostly the start.

    Weights that do not learn are left alone.
    """
    decay = min(decay, (step + 1) / (step + 10))
    for averaged, weight in zip(average.parameters(), model.parameters(), strict=True):
        if weight.requires_grad:
            averaged.lerp_(weight, 1 - decay)

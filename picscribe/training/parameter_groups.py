"""Which weights learn how fast: two learning rates, layers that slow towards the pixels, decay on matrices alone."""

import math

import torch
from torch import nn

from picscribe.errors import ConfigurationError
from picscribe.model import ClipVitConfig, Git
from picscribe.training.fine_tuning_recipe import FineTuningRecipe


def depth_of(model: Git, name: str) -> int:
    """How many layers of the image encoder stand between a parameter of it and its output; 0 elsewhere."""
    config = model.config.image_encoder
    if not name.startswith("image_encoder.") or not isinstance(config, ClipVitConfig):
        return 0
    parts = name.split(".")
    if parts[1] == "blocks":
        return config.layers - 1 - int(parts[2])
    return 0 if parts[1] == "post_norm" else config.layers


def make_optimiser(model: Git, recipe: FineTuningRecipe) -> torch.optim.AdamW:
    """AdamW; `peak_lr` of each group is what the schedule scales. Raises ConfigurationError where nothing learns."""
    settings = recipe.optimisation
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        of_encoder = name.startswith("image_encoder.")
        rate = settings.encoder_learning_rate if of_encoder else settings.learning_rate
        rate *= recipe.weights.layer_decay ** depth_of(model, name)
        decays = parameter.dim() > 1 and "embedding" not in name
        groups.setdefault((rate, settings.weight_decay if decays else 0.0), []).append(parameter)
    if not groups:
        raise ConfigurationError("nothing is left to train: see weights.train")
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        betas=(0.9, 0.98),
    )


def learning_rate_factor(step: int, warmup: int, total: int) -> float:
    """Linear warm-up, then a cosine to 0 at the end."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

"""Which weights learn how fast: two learning rates, layers that slow towards the pixels, decay on matrices alone."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from picscribe.errors import ConfigurationError
from picscribe.model import Git
from picscribe.model.clip_vit import ClipVit
from picscribe.training.recipe import Recipe


def depth_of(model: Git, name: str) -> int:
    """How many layers of the image encoder stand between a parameter of it and its output; 0 elsewhere."""
    encoder, (owner, _, rest) = model.image_encoder, name.partition(".")
    if owner != "image_encoder":
        return 0
    part, number = _place(rest)
    if _is_behind(encoder, part):
        return 0
    return len(encoder.blocks) - (1 + number if part == "blocks" else 0)


def _place(name: str) -> tuple[str, int]:
    """In which part of an image encoder a parameter is, and the number that follows."""
    part, number, *_ = [*name.split("."), ""]
    return part, int(number) if number.isdecimal() else 0


def _is_behind(encoder: nn.Module, part: str) -> bool:
    """Whether a part of an image encoder comes after its blocks."""
    return part in (("post_norm",) if isinstance(encoder, ClipVit) else ("head", "position_embedding"))


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """How many numbers the network has, and how many of them learn."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def freeze_lowest(model: Git, blocks: int) -> None:
    """Leave the image encoder's first `blocks` blocks, and what is before them, as they are."""
    for parameter in lowest_parameters(model.image_encoder, blocks):
        parameter.requires_grad_(False)


def lowest_parameters(encoder: nn.Module, blocks: int) -> Iterator[nn.Parameter]:
    """Those of the image encoder's first `blocks` blocks, and of what is before them."""
    for name, parameter in encoder.named_parameters():
        part, number = _place(name)
        if number < blocks if part == "blocks" else not _is_behind(encoder, part):
            yield parameter


def make_optimiser(model: Git, recipe: Recipe) -> torch.optim.AdamW:
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

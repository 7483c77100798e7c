"""LoRA through peft: low-rank additions to linear layers, merged into the weights when a model is saved."""

import copy
from typing import Any

from torch import nn

from picscribe.errors import ConfigurationError, MissingPackageError
from picscribe.model import Git
from picscribe.training.recipe import WeightSettings


def add_low_rank(model: Git, settings: WeightSettings) -> None:
    """Freeze the model and add trained low-rank matrices to its linear layers, in place.

    Raises ConfigurationError for a part that has no linear layers.
    """
    peft = _peft()
    inside = [model.text_decoder] if settings.lora_in == "decoder" else [model.image_encoder, model.text_decoder]
    model.requires_grad_(False)
    for part in inside:
        # The output layer shares its weight with the word embedding: added to, it would be another matrix.
        names = [name for name, module in part.named_modules() if isinstance(module, nn.Linear) and name != "output"]
        if not names:
            raise ConfigurationError(
                "weights.lora_in: all needs a ViT, but this image encoder is an EfficientNet: set it to decoder"
            )
        config = peft.LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=names)
        peft.inject_adapter_in_model(config, part)


def merge_low_rank(model: Git) -> Git:
    """A copy of the model with the low-rank additions merged into its weights."""
    layer = _peft().tuners.lora.LoraLayer
    whole = copy.deepcopy(model)
    for name, module in list(whole.named_modules()):
        if isinstance(module, layer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(whole.get_submodule(parent), child, module.get_base_layer())
    return whole


def has_low_rank(model: nn.Module) -> bool:
    """Whether the model has low-rank additions."""
    return any("lora_" in name for name, _ in model.named_parameters())


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingPackageError('LoRA needs the package peft: pip install "picscribe[train]"') from error
    return peft

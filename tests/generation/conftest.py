"""Tiny random models on which every search can be checked by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig


def _tiny_model(seed: int, words: int = 23, sep_bias: float = 1.0) -> Git:
    torch.manual_seed(seed)
    encoder = ClipVitConfig(width=24, layers=1, heads=3, mlp_width=32, patch_size=8, image_size=24)
    decoder = TextDecoderConfig(
        vocabulary_size=words, width=32, layers=2, heads=4, mlp_width=48, max_positions=40, cls_id=1, sep_id=2
    )
    model = Git(GitConfig(encoder, decoder)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(std=0.3)
        model.text_decoder.output.bias[2] += sep_bias
    return model


def _random_pixels(seed: int, images: int) -> Tensor:
    return torch.randn(images, 3, 24, 24, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Git]:
    """Makes a model of `words` words, [CLS] 1 and [SEP] 2, whose words vary with image and text and whose texts end."""
    return _tiny_model


@pytest.fixture(scope="session")
def random_pixels() -> Callable[[int, int], Tensor]:
    """Makes pixels (images, 3, 24, 24) from a seed."""
    return _random_pixels

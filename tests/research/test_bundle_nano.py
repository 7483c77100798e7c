"""A checkpoint for photos of another size."""

import torch

from picscribe import checkpoints
from research.bundle_nano import resized


def test_nano_sees_another_size_as_if_it_were_made_for_it() -> None:
    nano = checkpoints.load("nano")
    size = nano.preprocessing.size + 32
    other = resized(nano, size)
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(other.model.visual_features(pixels), nano.model.visual_features(pixels))
    assert other.preprocessing.size == other.model.config.image_encoder.image_size == size

"""Features, logits and smoothed loss of the original code's golden models, within 1e-4 relative."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from picscribe.model import ClipVitConfig
from picscribe.training.objectives.objective import smoothed_loss

FOLDER = Path(os.environ.get("PICSCRIBE_GOLDEN") or Path(__file__).resolve().parents[3] / "shared" / "golden")
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))

needs_golden = pytest.mark.skipif(not NAMES, reason="no golden results here (set PICSCRIBE_GOLDEN to their folder)")
pytestmark = needs_golden


def assert_within(found: Tensor, expected: Tensor) -> None:
    """Each value within 1e-4 of itself, or of the tensor's typical size where it lies near 0."""
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().mean().item())


@pytest.mark.parametrize("name", NAMES)
def test_sizes_read_off_the_tensors(name: str, load_golden: Callable[[str], Any]) -> None:
    model, sizes, _ = load_golden(name)
    image, text = model.config.image_encoder, model.config.text_decoder
    assert isinstance(image, ClipVitConfig)
    vision = sizes["vision"]
    assert (image.width, image.layers, image.patch_size) == (
        vision["hidden_size"],
        vision["layers"],
        vision["patch_size"],
    )
    assert image.image_size == vision["image_size"]
    assert (text.vocabulary_size, text.max_positions) == (sizes["vocab_size"], sizes["text"]["max_positions"])
    assert (text.width, text.layers) == (sizes["text"]["hidden_size"], sizes["text"]["layers"])
    assert text.mlp_width == sizes["text"]["intermediate_size"]
    assert model.config.frames == (sizes["num_frames"] or 0)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_features_logits_and_loss(name: str, load_golden: Callable[[str], Any]) -> None:
    model, _, golden = load_golden(name)
    features = model.visual_features(golden["pixel_values"])
    assert_within(features, golden["visual_features"])
    tokens = golden["tokens"]
    logits = model(golden["pixel_values"], tokens[:, None])[:, 0]
    assert_within(logits, golden["logits"])
    predicted = golden["need_predict"][:, 1:].bool()
    loss = smoothed_loss(logits[:, :-1][predicted], tokens[:, 1:][predicted].long(), smoothing=0.1)
    assert_within(loss, golden["smooth_loss"].reshape(()))

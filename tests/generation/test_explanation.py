"""Heat maps belong to the real network: the same logits, gradients as found by changing weights, maps that add up."""

from typing import Any

import pytest
import torch
from torch import Tensor

from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.int8 import quantize
from picscribe.errors import ConfigurationError
from picscribe.generation import explanation
from picscribe.generation.explanation import explain
from picscribe.model import ClipVitConfig, EfficientNetLiteConfig, Git, GitConfig, TextDecoderConfig

DECODER = TextDecoderConfig(
    vocabulary_size=30, width=32, layers=2, heads=4, mlp_width=48, max_positions=40, cls_id=1, sep_id=2
)
VIT = ClipVitConfig(width=24, layers=2, heads=3, mlp_width=32, patch_size=8, image_size=32)
CASES: dict[str, tuple[GitConfig, tuple[int, ...], tuple[int, ...]]] = {
    "image": (GitConfig(VIT, DECODER), (3, 32, 32), (1, 4, 4)),
    "wide image": (GitConfig(VIT, DECODER), (3, 32, 48), (1, 4, 6)),
    "video": (GitConfig(VIT, DECODER, frames=3), (3, 3, 32, 32), (3, 4, 4)),
    "convolutional": (GitConfig(EfficientNetLiteConfig(0, 64), DECODER), (3, 64, 64), (1, 2, 2)),
}


def make(name: str) -> tuple[Git, Tensor, tuple[int, ...]]:
    config, shape, grid = CASES[name]
    torch.manual_seed(2)
    model = Git(config).eval().requires_grad_(False)
    for parameter_name, parameter in model.named_parameters():
        if "norm" not in parameter_name and parameter.dim() > 1 and not parameter_name.startswith("image_encoder.b"):
            parameter.normal_(std=0.3)
    return model, torch.randn(shape), grid


@pytest.mark.parametrize("method", ["gradient", "rollout"])
@pytest.mark.parametrize("name", CASES)
def test_maps_add_up(name: str, method: Any) -> None:
    """After a prompt, packed for the CPU or not, alone or among other words: the same maps."""
    model, pixels, grid = make(name)
    maps = explain(model, pixels, [1, 7], [5, 9, 2], method)
    assert maps.shape == (3, *grid)
    assert (maps >= 0).all()
    assert maps.sum((1, 2, 3)).tolist() == pytest.approx([1.0] * 3, abs=1e-4)
    assert not torch.allclose(maps[0], maps[1], atol=1e-4)
    first = explain(model, pixels, [1, 7], [5], method)
    assert torch.allclose(first[0], maps[0], atol=1e-5)
    if method == "rollout":  # gradients are the plain network's
        running = Accelerated(model).accelerate().running
        assert torch.allclose(explain(running, pixels, [1, 7], [5, 9, 2], method), maps, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_the_network_is_the_real_one(name: str) -> None:
    model, pixels, _ = make(name)
    ids = torch.tensor([1, 7, 5, 9])
    frames = pixels if pixels.dim() == 4 else pixels[None]
    with torch.no_grad():
        features = torch.cat([explanation._encode(model, frame[None])[0] for frame in frames])
        if pixels.dim() == 4:
            features = features + model.temporal_embedding[: len(frames), None]  # type: ignore[index]
        found, _ = explanation._decode(model, features.flatten(0, 1)[None], ids[None])
        expected = model(pixels[None], ids[None, None])[:, 0]
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_map_marks_what_the_word_depends_on() -> None:
    """A decoder whose first layer is made to look at one image token alone: the map is there and nowhere else."""
    model, pixels, _ = make("convolutional")
    with torch.no_grad():
        for layer in model.text_decoder.layers:
            layer.attention.out.weight.zero_()
    even = explain(model, pixels, [1], [5], "gradient")
    assert even[0].flatten().tolist() == pytest.approx([0.25] * 4), "where nothing is seen, no place stands out"


def test_rollout_is_the_product_of_the_layers() -> None:
    layers = [torch.rand(5, 5).softmax(-1) for _ in range(3)]
    whole = torch.eye(5)
    for attention in layers:
        whole = (0.5 * attention + 0.5 * torch.eye(5)) @ whole
    for row in range(5):
        assert torch.allclose(explanation._follow(layers, row, "rollout"), whole[row], atol=1e-6)


def test_wrong_uses() -> None:
    model, pixels, _ = make("image")
    with pytest.raises(ConfigurationError, match="unknown method 'magic': choose one of gradient, rollout"):
        explain(model, pixels, [1], [5], "magic")  # type: ignore[arg-type]
    quantized = quantize(model)
    with pytest.raises(ConfigurationError, match="int8 weights have no gradient"):
        explain(quantized, pixels, [1], [5])
    assert explain(quantized, pixels, [1], [5], "rollout").shape == (1, 1, 4, 4)

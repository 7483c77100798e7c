"""EfficientNet-Lite packed and fused against the plain network."""

import copy
import warnings

import pytest
import torch
from torch import Tensor

from picscribe.acceleration import accelerated, fused
from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.acceleration.fused import FusedEfficientNetLite, PackedConvolution
from picscribe.acceleration.int8 import quantize
from picscribe.acceleration.int8_convolutions import (
    RELU6_STEP,
    Int8Convolution,
    Int8EfficientNetLite,
    Int8InvertedResidual,
    Range,
    can_convolve_int8,
    draw_pictures,
)
from picscribe.checkpoints import load
from picscribe.model import EfficientNetLiteConfig, Git, GitConfig, TextDecoderConfig
from picscribe.model.attention import resize_position_grid
from picscribe.model.efficientnet_lite import Convolution, EfficientNetLite, InvertedResidual

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
@pytest.mark.skipif(not multiplies_bfloat16(), reason="this processor has no bfloat16")
@pytest.mark.parametrize(("inputs", "outputs", "side"), [(88, 528, 16), (16, 96, 128), (24, 144, 64)])
def test_one_image_has_a_layout_of_its_own_in_bfloat16(inputs: int, outputs: int, side: int) -> None:
    torch.manual_seed(0)
    plain = Convolution(inputs, outputs, 1).bfloat16()
    packed = PackedConvolution(plain, 9, side)
    for images in (1, 2, 9):
        x = torch.randn(images, inputs, side, side).bfloat16().contiguous(memory_format=torch.channels_last)
        assert (packed._arguments(x)[0] is packed.alone) == (images == 1)
        assert_close(packed(x).float(), plain.float()(x.float()).clamp(0, 6), to=1e-2)
        plain.bfloat16()


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


@pytest.fixture
def int8_convolutions() -> None:
    if not can_convolve_int8():
        pytest.skip("this processor has no VNNI, or this PyTorch no int8 convolutions by oneDNN")


def rounded_by_definition(plain: Convolution, x: Tensor, step: float, zero: int) -> tuple[Tensor, Tensor]:
    """The input and the convolution of it, both factors rounded as int8_convolutions.py says, in double precision."""
    scale = plain.weight.double().abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-30) / 127
    exact = copy.deepcopy(plain).double()
    exact.weight.copy_((exact.weight / scale).round() * scale)
    numbers = (x.double() / step + zero).round().clamp(0, 255)
    return numbers, exact((numbers - zero) * step)


@torch.no_grad()
@pytest.mark.usefixtures("int8_convolutions")
@pytest.mark.parametrize("side", [(64, 64), (33, 65), (34, 63), (1, 7)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("depthwise", [True, False])
def test_an_int8_convolution_is_its_definition(
    side: tuple[int, int], kernel: int, stride: int, depthwise: bool
) -> None:
    torch.manual_seed(0)
    plain = Convolution(16, 16, kernel, stride, groups=16 if depthwise else 1).requires_grad_(False)
    plain.weight[3] = 0
    x = torch.rand(3, 16, *side).mul_(7).contiguous(memory_format=torch.channels_last)
    numbers, expected = rounded_by_definition(plain, x, RELU6_STEP, 0)
    given = Range(0, 6).quantize(x)
    assert torch.equal(given.double(), numbers) and given.max() == 255, "what is above 6 is cut"
    found = Int8Convolution(plain, 3, 64)(given)
    assert found.dtype == torch.uint8
    assert (found * RELU6_STEP - expected.clamp(0, 6)).abs().max() < 0.501 * RELU6_STEP
    linear = Int8Convolution(plain, 3, 64, relu6=False)
    assert_close(linear(given), expected.float())
    residual = torch.randn_like(expected, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    assert_close(linear.add_to(residual.clone(), given), expected.float() + residual)


@torch.no_grad()
@pytest.mark.usefixtures("int8_convolutions")
@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (-5.0, 0.1), (2.0, 5.0), (0.0, 0.0)])
def test_an_int8_convolution_of_values_below_zero(low: float, high: float) -> None:
    torch.manual_seed(0)
    plain, span = Convolution(16, 24, 1).requires_grad_(False), Range(low, high)
    x = (torch.rand(2, 16, 9, 7) * (high - low) + low).contiguous(memory_format=torch.channels_last)
    numbers, expected = rounded_by_definition(plain, x, span.step, span.zero)
    given = span.quantize(x)
    assert torch.equal(given.double(), numbers)
    assert ((given.double() - span.zero) * span.step - x).abs().max() <= 0.501 * span.step
    assert_close(Int8Convolution(plain, 2, 9, span, relu6=False)(given), expected.float())


def block_by_definition(block: InvertedResidual, given: Range, x: Tensor) -> Tensor:
    """What the block should compute in int8, rounding where int8_convolutions.py says."""
    assert block.expand is not None
    hidden = rounded_by_definition(block.expand, x, given.step, given.zero)[1]
    hidden = rounded_by_definition(block.depthwise, hidden, RELU6_STEP, 0)[1]
    out = rounded_by_definition(block.project, hidden, RELU6_STEP, 0)[1]
    return (out + x if block.residual else out).float()


@torch.no_grad()
@pytest.mark.usefixtures("int8_convolutions")
def test_every_layer_of_the_int8_encoder_is_its_definition() -> None:
    plain = encoder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast = Int8EfficientNetLite(plain)
        fast(torch.zeros(1, 3, 64, 64))
    pixels = draw_pictures(2, 64).contiguous(memory_format=torch.channels_last)
    x, expected = fast.blocks[0](fast.stem(pixels.to(fast.stem.bias.dtype))).float(), plain.encode_until(1, pixels)
    assert (x - expected).norm() < 0.02 * expected.norm()
    for block, quick in zip(list(plain.blocks)[1:], list(fast.blocks)[1:], strict=True):
        assert isinstance(block, InvertedResidual) and isinstance(quick, Int8InvertedResidual)
        expected, x = block_by_definition(block, quick.given, x), quick(x.clone())
        # A value on the edge of two steps may go either way.
        assert (x - expected).norm() < 0.002 * expected.norm()
    head = rounded_by_definition(plain.head, x, fast.given.step, fast.given.zero)[1].clamp(0, 6).float()
    position = resize_position_grid(plain.position_embedding, *head.shape[-2:])
    assert_close(fast(pixels), head.flatten(2).transpose(1, 2) + position)


@torch.no_grad()
@pytest.mark.usefixtures("int8_convolutions")
def test_the_int8_encoder_computes_the_same_whatever_the_batch() -> None:
    plain = encoder()
    fast, pictures = Int8EfficientNetLite(plain), draw_pictures(5, 64)
    for pixels in (pictures, pictures[:1], pictures[:, :, :, :48], pictures[:2, :, 1:, 3:], pictures[:0]):
        before, found = pixels.clone(), fast(pixels)
        assert found.shape == plain(pixels).shape and found.dtype == torch.float32
        assert torch.equal(pixels, before)
        for one, alone in zip(found, pixels, strict=True):
            torch.testing.assert_close(one, fast(alone[None])[0])
    together = pictures.clone()
    together[1:] *= 1000
    torch.testing.assert_close(fast(together)[0], fast(pictures)[0])
    assert torch.equal(Int8EfficientNetLite(plain)(pictures), fast(pictures)), "its ranges are always the same"


@torch.no_grad()
@pytest.mark.usefixtures("int8_convolutions")
def test_nano_in_int8_is_close_to_nano() -> None:
    plain = load("nano").model.image_encoder
    assert isinstance(plain, EfficientNetLite)
    pixels = draw_pictures(6, 256)[4:]  # others than those that gave the ranges
    expected = plain(pixels)
    assert (Int8EfficientNetLite(plain)(pixels) - expected).norm() < 0.2 * expected.norm()


def test_drawn_pictures_are_always_the_same() -> None:
    state = torch.random.get_rng_state()
    pictures = draw_pictures(3, 64)
    assert pictures.shape == (3, 3, 64, 64) and torch.equal(pictures, draw_pictures(3, 64))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert 0.8 < pictures.std() < 1.6 and pictures.abs().max() <= 2.6, "about as normalised photos"


@pytest.mark.parametrize("convolves", [True, False])
def test_an_int8_network_has_int8_convolutions_where_they_are_possible(
    convolves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if convolves and not can_convolve_int8():
        pytest.skip("this processor has no VNNI, or this PyTorch no int8 convolutions by oneDNN")
    monkeypatch.setattr(accelerated, "can_convolve_int8", lambda: convolves)
    decoder = TextDecoderConfig(61, width=32, layers=1, heads=2, mlp_width=64, max_positions=40, cls_id=1, sep_id=2)
    torch.manual_seed(0)
    network = quantize(Git(GitConfig(EfficientNetLiteConfig(0, 64), decoder)).eval().requires_grad_(False))
    pixels, tokens = torch.randn(2, 3, 64, 64), torch.randint(0, 61, (2, 1, 5))
    with torch.inference_mode():
        expected = network(pixels, tokens)
        pair = Accelerated(network).accelerate()
        assert isinstance(pair.running.image_encoder, FusedEfficientNetLite)
        assert isinstance(pair.running.image_encoder, Int8EfficientNetLite) == convolves
        error = float((pair.running(pixels, tokens) - expected).norm() / expected.norm())
        assert error < 0.02
    assert pair.hand_out() is network and isinstance(network.image_encoder, EfficientNetLite)

"""Gradients made of windows are those of the convolution itself."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from picscribe import checkpoints
from picscribe.acceleration.depthwise import depthwise, learn_depthwise_fast, learns_slowly


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (8, 13), (17, 10)])
def test_gradients_are_those_of_the_convolution(kernel: int, stride: int, height: int, width: int) -> None:
    """Against float32 at the precision of bfloat16; sizes that the stride divides and that it does not."""
    torch.manual_seed(kernel * 10 + stride)
    x = torch.randn(2, 6, height, width).bfloat16().requires_grad_()
    weight = torch.randn(6, 1, kernel, kernel).bfloat16().float().requires_grad_()
    bias = torch.randn(6).bfloat16().float().requires_grad_()
    exact = F.conv2d(x.float(), weight, bias, stride, groups=6)
    found = depthwise(x, weight, bias, stride)
    assert found.dtype == torch.bfloat16 and found.shape == exact.shape
    gradient = torch.randn_like(exact).bfloat16()
    pairs = [(found, exact)]
    pairs += zip(
        torch.autograd.grad(found, (x, weight, bias), gradient),
        torch.autograd.grad(exact, (x, weight, bias), gradient.float()),
        strict=True,
    )
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert float((ours.float() - theirs).detach().abs().max() / theirs.detach().abs().max()) < 0.01


def test_only_what_learns_slowly_is_computed_so() -> None:
    x, small, large = torch.randn(1, 2, 8, 8), torch.randn(2, 1, 3, 3), torch.randn(2, 1, 5, 5)
    learning = large.clone().requires_grad_()
    assert not learns_slowly(x, learning, 1)  # float32
    with torch.autocast("cpu", torch.bfloat16):
        assert learns_slowly(x, learning, 1)
        assert not learns_slowly(x, large, 1)
        assert not learns_slowly(x, small.clone().requires_grad_(), 1)
        assert learns_slowly(x.clone().requires_grad_(), small, 2)
        assert not learns_slowly(x.clone().requires_grad_(), large, 1)
        with torch.no_grad():
            assert not learns_slowly(x, learning, 1)


def test_an_image_encoder_learns_as_well_as_by_the_plain_way() -> None:
    """nano's, first block to head: each gradient is as near to float32's as that of the plain bfloat16 convolutions."""
    encoder = checkpoints.load("nano").model.image_encoder.requires_grad_(True)
    torch.manual_seed(0)
    pixels, wanted = torch.randn(4, 3, 64, 64), torch.randn(4, 4, 1280)

    def gradients(precision: torch.dtype) -> dict[str, Tensor]:
        encoder.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            seen = encoder(pixels)
        (seen.float() * wanted).sum().backward()
        return {name: p.grad.flatten().clone() for name, p in encoder.named_parameters() if p.grad is not None}

    exact, plain = gradients(torch.float32), gradients(torch.bfloat16)
    learn_depthwise_fast(encoder)
    found = gradients(torch.bfloat16)
    assert any((found[name] != plain[name]).any() for name in found)
    assert found.keys() == exact.keys() == {name for name, _ in encoder.named_parameters()}
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32
        ours, theirs = (float(F.cosine_similarity(one, exact[name], dim=0)) for one in (gradient, plain[name]))
        assert ours > theirs - 0.01, name

"""Packed products against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from picscribe.acceleration.fused import PackedLinear, can_pack

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
    reason="this PyTorch has no oneDNN",
)


def layer(inputs: int = 20, outputs: int = 33, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs).to(dtype)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 20), (7, 20), (2, 3, 20), (0, 20), (2, 0, 20)])
def test_products_and_what_follows_them(shape: tuple[int, ...]) -> None:
    plain, x, residual = layer(), torch.randn(*shape), torch.randn(*shape[:-1], 33)
    packed, expected = PackedLinear(plain), plain(x)
    torch.testing.assert_close(packed(x), expected)
    torch.testing.assert_close(packed.gelu(x), F.gelu(expected))
    torch.testing.assert_close(packed.swish(x), F.silu(expected))
    torch.testing.assert_close(packed.plus(x, residual), expected + residual)
    assert torch.equal(packed.dense(), plain.weight)


@torch.no_grad()
def test_weight_and_bias_times_numbers() -> None:
    plain, x = layer(), torch.randn(5, 20)
    packed = PackedLinear(plain, 1.702, 0.5)
    torch.testing.assert_close(packed(x), 1.702 * F.linear(x, plain.weight) + 0.5 * plain.bias)


@torch.no_grad()
def test_views_that_are_not_contiguous() -> None:
    plain = layer()
    packed = PackedLinear(plain)
    for x in (torch.randn(4, 5, 20).transpose(0, 1), torch.randn(6, 40)[:, ::2], torch.randn(1, 20).expand(5, 20)):
        torch.testing.assert_close(packed(x), plain(x))


@torch.no_grad()
def test_bfloat16_where_this_machine_has_it() -> None:
    plain, x = layer(64, 64, torch.bfloat16), torch.randn(5, 64).bfloat16()
    if not can_pack(plain):
        pytest.skip("this processor does not multiply bfloat16")
    torch.testing.assert_close(PackedLinear(plain)(x), plain(x))


def test_double_precision_is_not_packed() -> None:
    assert can_pack(layer()) and not can_pack(layer(dtype=torch.float64))


def test_a_gradient_is_refused() -> None:
    with pytest.raises(AssertionError, match="no gradient"):
        PackedLinear(layer())(torch.randn(3, 20, requires_grad=True))

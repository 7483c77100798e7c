"""Int8 products against the same rounding done in double precision, and a quantised network against the exact one."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.int8 import Int8Linear, quantize
from picscribe.errors import ConfigurationError
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig


def layer(inputs: int = 64, outputs: int = 48, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs).eval()


def by_definition(linear: nn.Linear, x: Tensor, bits: int) -> Tensor:
    """Both factors rounded as int8_linear.py says, multiplied exactly: (…, in) → (…, out)."""
    weight = linear.weight.detach().double()
    of_channel = (weight.abs().amax(1) / 127).clamp(min=1e-30)
    rounded_weight = (weight / of_channel[:, None]).round() * of_channel[:, None]
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    step = (high - low) / (2**bits - 1) or 1.0
    zero = round(-low / step)
    rounded = ((x.double() / step).round() + zero).clamp(0, 2**bits - 1) - zero
    return F.linear(rounded * step, rounded_weight, linear.bias.detach().double()).float()


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (2, 3, 64), (40, 64)])
@pytest.mark.parametrize("spread", [0.05, 1.0, 1e3])
def test_as_its_definition(shape: tuple[int, ...], spread: float) -> None:
    linear, x = layer(), torch.randn(*shape) * spread
    int8 = Int8Linear.of(linear)
    expected = by_definition(linear, x, 7 if int8.seven_bits else 8)
    # A value on the edge of two steps may go either way: one step of one input.
    step = (x.max() - x.min()) / (127 if int8.seven_bits else 255)
    torch.testing.assert_close(int8(x), expected, rtol=1e-4, atol=float(step * linear.weight.abs().max()) * 2)
    assert (int8(x) - F.linear(x, linear.weight, linear.bias)).norm() < 0.03 * expected.norm() + 1e-6


@torch.no_grad()
@pytest.mark.parametrize("sign", [1, -1])
def test_the_greatest_sums_do_not_overflow(sign: int) -> None:
    """All weights and activations at their ends: 16 bits would not hold a pair."""
    linear = layer(512, 8)
    linear.weight.fill_(sign * 0.5)
    x = torch.full((3, 512), 2.0)
    x[:, 0] = -0.01
    torch.testing.assert_close(Int8Linear.of(linear)(x), F.linear(x, linear.weight, linear.bias), rtol=0.01, atol=0.5)


@torch.no_grad()
def test_zero_rows_constant_inputs_and_empty_batches() -> None:
    linear = layer()
    linear.weight[3] = 0
    int8 = Int8Linear.of(linear)
    assert torch.isfinite(int8.scale).all()
    torch.testing.assert_close(int8(torch.zeros(2, 64)), linear.bias.expand(2, -1))
    torch.testing.assert_close(int8(torch.randn(2, 64))[:, 3], linear.bias[3].expand(2))
    assert int8(torch.zeros(0, 64)).shape == (0, 48) and int8(torch.zeros(2, 0, 64)).shape == (2, 0, 48)


@torch.no_grad()
def test_what_follows_a_product() -> None:
    linear, x, residual = layer(), torch.randn(5, 64), torch.randn(5, 48)
    int8 = Int8Linear.of(linear)
    torch.testing.assert_close(int8.gelu(x), F.gelu(int8(x)))
    torch.testing.assert_close(int8.swish(x), F.silu(int8(x)))
    kept = residual.clone()
    torch.testing.assert_close(int8.plus(x, residual), int8(x) + residual)
    assert torch.equal(residual, kept)
    double = Int8Linear.of(linear, 2.0, 3.0)
    torch.testing.assert_close(double(x), 2 * (int8(x) - linear.bias) + 3 * linear.bias, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_changed_weights_are_never_answered_with_the_old() -> None:
    int8, x = Int8Linear.of(layer()), torch.randn(3, 64)
    int8(x)
    other = Int8Linear.of(layer(seed=5))
    int8.load_state_dict(other.state_dict())
    torch.testing.assert_close(int8(x), other(x))


@torch.no_grad()
def test_copies_and_pickles() -> None:
    int8, x = Int8Linear.of(layer()), torch.randn(3, 64)
    expected = int8(x)
    for other in (copy.deepcopy(int8), pickle.loads(pickle.dumps(int8))):
        assert torch.equal(other(x), expected)


def test_no_gradient() -> None:
    with pytest.raises(ConfigurationError, match="without quantize"):
        Int8Linear.of(layer())(torch.randn(3, 64, requires_grad=True))


def test_the_engine_in_use_stays() -> None:
    before = torch.backends.quantized.engine
    Int8Linear.of(layer()).pack()
    assert torch.backends.quantized.engine == before


@torch.no_grad()
def test_a_base_encoder_within_four_percent() -> None:
    torch.manual_seed(0)
    config = GitConfig(ClipVitConfig(), TextDecoderConfig(layers=1, vocabulary_size=61, cls_id=1, sep_id=2))
    model = Git(config).eval()
    pixels = torch.randn(2, 3, 224, 224)
    exact = model.visual_features(pixels)
    quantised = Accelerated(quantize(model)).accelerate().running.visual_features(pixels)
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert not linears, "every product is int8"
    assert 0 < (quantised - exact).norm() / exact.norm() < 0.04

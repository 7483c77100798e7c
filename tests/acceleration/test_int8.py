"""Int8 products against the same rounding done in double precision, and a quantised network against the exact one."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.acceleration import int8
from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.int8 import Int8Linear, quantize
from picscribe.errors import ConfigurationError
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig


def layer(inputs: int = 64, outputs: int = 48, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs).eval()


@pytest.fixture(params=["OneDnn", "Fbgemm", "Qnnpack"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each engine that this PyTorch has."""
    found = {one.__name__: one for one in int8.find_engines()}
    if request.param not in found:
        pytest.skip(f"this PyTorch has no {request.param} here")
    monkeypatch.setattr(int8, "find_engines", lambda: [found[request.param]])
    return str(request.param)


def by_definition(linear: nn.Linear, x: Tensor, below: float, above: float) -> Tensor:
    """Both factors rounded as int8.py says, multiplied exactly: (…, in) → (…, out)."""
    weight = linear.weight.detach().double()
    of_channel = (weight.abs().amax(1) / 127).clamp(min=1e-30)
    rounded_weight = (weight / of_channel[:, None]).round() * of_channel[:, None]
    x = x.double()
    step = torch.maximum(x.amax(-1, keepdim=True) / above, -x.amin(-1, keepdim=True) / below)
    return F.linear((x / step).round() * step, rounded_weight, linear.bias.detach().double()).float()


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (2, 3, 64), (40, 64)])
@pytest.mark.parametrize("spread", [0.05, 1.0, 1e3])
@pytest.mark.parametrize("outputs", [48, 96])
def test_as_its_definition(shape: tuple[int, ...], spread: float, outputs: int, engine: str) -> None:
    linear, x = layer(outputs=outputs), (torch.randn(*shape) + 0.5) * spread
    quantised = Int8Linear.of(linear)
    finer = 1.0 if engine != "Qnnpack" else 255 / (quantised.below + quantised.above)
    expected = by_definition(linear, x, quantised.below * finer, quantised.above * finer)
    # A value on the edge of two steps may go either way: one step of one input.
    step = x.abs().max() / quantised.below
    torch.testing.assert_close(quantised(x), expected, rtol=1e-4, atol=float(step * linear.weight.abs().max()) * 2)
    assert (quantised(x) - F.linear(x, linear.weight, linear.bias)).norm() < 0.03 * expected.norm() + 1e-6


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 2, 3, 64, 700])
@pytest.mark.parametrize("inputs", [64, 256])
def test_a_row_does_not_depend_on_the_others(rows: int, inputs: int, engine: str) -> None:
    """To the bit, beside rows a thousand times as large, and zero ones, and across the parts that are multiplied."""
    quantised = Int8Linear.of(layer(inputs, 128))
    x = torch.randn(rows, inputs) * torch.logspace(-3, 3, rows)[:, None]
    x[rows // 2] = 0
    residual = torch.randn(rows, 128)
    for product in (quantised, quantised.gelu, quantised.swish):
        assert torch.equal(product(x), torch.cat([product(row[None]) for row in x]))
    one_by_one = [quantised.plus(row[None], other[None]) for row, other in zip(x, residual, strict=True)]
    assert torch.equal(quantised.plus(x, residual), torch.cat(one_by_one))


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
def test_zero_rows_constant_inputs_and_empty_batches(engine: str) -> None:
    linear = layer()
    linear.weight[3] = 0
    quantised = Int8Linear.of(linear)
    assert torch.isfinite(quantised.scale).all()
    torch.testing.assert_close(quantised(torch.zeros(2, 64)), linear.bias.expand(2, -1))
    torch.testing.assert_close(quantised(torch.randn(2, 64))[:, 3], linear.bias[3].expand(2))
    assert quantised(torch.zeros(0, 64)).shape == (0, 48) and quantised(torch.zeros(2, 0, 64)).shape == (2, 0, 48)


@torch.no_grad()
def test_what_follows_a_product() -> None:
    linear, x, residual = layer(), torch.randn(5, 64), torch.randn(5, 48)
    quantised = Int8Linear.of(linear)
    torch.testing.assert_close(quantised.gelu(x), F.gelu(quantised(x)))
    torch.testing.assert_close(quantised.swish(x), F.silu(quantised(x)))
    kept = residual.clone()
    torch.testing.assert_close(quantised.plus(x, residual), quantised(x) + residual)
    assert torch.equal(residual, kept)
    double = Int8Linear.of(linear, 2.0, 3.0)
    torch.testing.assert_close(double(x), 2 * (quantised(x) - linear.bias) + 3 * linear.bias, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_changed_weights_are_never_answered_with_the_old() -> None:
    quantised, x = Int8Linear.of(layer()), torch.randn(3, 64)
    quantised(x)
    other = Int8Linear.of(layer(seed=5))
    quantised.load_state_dict(other.state_dict())
    torch.testing.assert_close(quantised(x), other(x))


@torch.no_grad()
def test_copies_and_pickles() -> None:
    quantised, x = Int8Linear.of(layer()), torch.randn(3, 64)
    expected = quantised(x)
    for other in (copy.deepcopy(quantised), pickle.loads(pickle.dumps(quantised))):
        assert torch.equal(other(x), expected)


def test_no_gradient() -> None:
    with pytest.raises(ConfigurationError, match="without quantize"):
        Int8Linear.of(layer())(torch.randn(3, 64, requires_grad=True))


def test_the_engine_in_use_stays() -> None:
    before = torch.backends.quantized.engine
    Int8Linear.of(layer()).pack()
    assert torch.backends.quantized.engine == before


@torch.no_grad()
def test_a_base_encoder_within_one_percent() -> None:
    """Two without VNNI, where activations have 7 bits."""
    torch.manual_seed(0)
    config = GitConfig(ClipVitConfig(), TextDecoderConfig(layers=1, vocabulary_size=61, cls_id=1, sep_id=2))
    model = Git(config).eval()
    pixels = torch.randn(2, 3, 224, 224)
    exact = model.visual_features(pixels)
    quantised = Accelerated(quantize(model)).accelerate().running.visual_features(pixels)
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert not linears, "every product is int8"
    assert 0 < (quantised - exact).norm() / exact.norm() < (0.01 if torch.cpu._is_vnni_supported() else 0.02)

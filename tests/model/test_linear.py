"""Packed products against the plain ones, and when a packed weight must not be used."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig
from picscribe.model.linear import (
    Linear,
    linear_gelu,
    linear_plus,
    linear_tail,
    pack_layers,
    quick_gelu_layers,
    quick_gelu_mlp,
)

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
    reason="this PyTorch has no oneDNN",
)

SHAPES = [(1, 20), (7, 20), (2, 3, 20), (0, 20), (2, 0, 20)]


def layer(inputs: int = 20, outputs: int = 33, dtype: torch.dtype = torch.float32) -> Linear:
    torch.manual_seed(0)
    return Linear(inputs, outputs).to(dtype).eval()


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_packed_equals_plain(shape: tuple[int, ...]) -> None:
    plain, packed, x = layer(), layer(), torch.randn(*shape)
    packed.tail_start = 11
    packed.pack()
    assert packed.is_packed() and not plain.is_packed()
    expected, residual = F.linear(x, plain.weight, plain.bias), torch.randn(*shape[:-1], 33)
    for linear in (plain, packed):
        torch.testing.assert_close(linear(x), expected)
        torch.testing.assert_close(linear_gelu(linear, x), F.gelu(expected))
        torch.testing.assert_close(linear_plus(linear, x, residual), expected + residual)
        torch.testing.assert_close(linear_tail(linear, x, 11), expected[..., 11:])


@torch.no_grad()
def test_views_that_are_not_contiguous() -> None:
    linear, plain = layer(), layer()
    linear.pack()
    for x in (torch.randn(4, 5, 20).transpose(0, 1), torch.randn(6, 40)[:, ::2], torch.randn(1, 20).expand(5, 20)):
        torch.testing.assert_close(linear(x), plain(x))


@torch.no_grad()
def test_bfloat16_where_this_machine_has_it() -> None:
    plain, packed, x = layer(64, 64, torch.bfloat16), layer(64, 64, torch.bfloat16), torch.randn(5, 64).bfloat16()
    packed.pack()
    assert packed.is_packed() == packed.can_pack()
    torch.testing.assert_close(packed(x), plain(x))


@torch.no_grad()
@pytest.mark.parametrize("pack", [False, True])
def test_quick_gelu_mlp_is_its_definition(pack: bool) -> None:
    up, down = quick_gelu_layers(20, 50)
    x = torch.randn(3, 7, 20) * 4
    if pack:
        pack_layers(nn.ModuleList([up, down]))
        assert up.is_packed(scaled=True) and down.is_packed(scaled=True)
    hidden = F.linear(x, up.weight, up.bias)
    expected = F.linear(hidden * torch.sigmoid(1.702 * hidden), down.weight, down.bias) + x
    torch.testing.assert_close(quick_gelu_mlp(up, down, x, x), expected)
    # What is packed with a scale serves the pair alone.
    torch.testing.assert_close(up(x), hidden)


def test_gradients_take_the_plain_way() -> None:
    linear, x = layer(), torch.randn(3, 20, requires_grad=True)
    linear.pack()
    linear(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, linear.state_dict()["weight"].sum(0).expand(3, 20))


def bias_written(linear: Linear) -> None:
    linear.bias.add_(1)


def loaded(linear: Linear) -> None:
    linear.load_state_dict({name: value + 1 for name, value in linear.state_dict().items()})


def assigned(linear: Linear) -> None:
    linear.weight = nn.Parameter(linear.state_dict()["weight"] * 3)


def cast(linear: Linear) -> None:
    linear.double()


@torch.no_grad()
@pytest.mark.parametrize("change", [bias_written, loaded, assigned, cast])
def test_changed_weights_are_never_answered_with_the_old(change: object) -> None:
    linear, x = layer(), torch.randn(3, 20)
    linear.pack()
    before = linear(x)
    change(linear)  # type: ignore[operator]
    assert not linear.is_packed()
    x = x.to(linear.weight.dtype)
    assert not torch.allclose(linear(x).float(), before) or change is cast
    torch.testing.assert_close(linear(x), F.linear(x, linear.state_dict()["weight"], linear.bias))


@torch.no_grad()
def test_copies_and_pickles_go_without() -> None:
    linear, x = layer(), torch.randn(3, 20)
    linear.pack()
    for other in (copy.deepcopy(linear), pickle.loads(pickle.dumps(linear))):
        assert not other.is_packed() and linear.is_packed()
        torch.testing.assert_close(other(x), linear(x))


def test_what_is_trained_is_the_plain_weight() -> None:
    linear, x = layer(), torch.randn(3, 20)
    plain = linear.weight.detach().clone()
    linear.pack()
    assert linear.weight.is_mkldnn, "in memory once"
    assert torch.equal(linear.state_dict()["weight"], plain) and linear.weight.numel() == plain.numel()
    linear.train()
    assert torch.equal(linear.weight, plain) and linear.weight.requires_grad
    linear(x).sum().backward()
    assert linear.weight.grad is not None


@torch.no_grad()
def test_a_weight_that_another_module_has_too_stays_its_own() -> None:
    embedding, linear = nn.Embedding(33, 20), layer()
    linear.weight = embedding.weight
    linear.pack(shared=True)
    assert linear.is_packed() and linear.weight is embedding.weight
    embedding.weight.mul_(2)
    assert not linear.is_packed()


@torch.no_grad()
def test_an_output_that_is_the_word_embedding_too_stays_one_weight() -> None:
    model = Git(
        GitConfig(
            ClipVitConfig(width=32, layers=1, heads=2, mlp_width=64, patch_size=8, image_size=32),
            TextDecoderConfig(61, width=32, layers=1, heads=2, mlp_width=64, tie_output=True, cls_id=1, sep_id=2),
        )
    ).eval()
    model.pack()
    decoder = model.text_decoder
    assert decoder.output.is_packed() and decoder.output.weight is decoder.word_embedding.weight
    assert not decoder.output.weight.is_mkldnn and decoder.layers[0].up.weight.is_mkldnn


@torch.no_grad()
def test_double_precision_is_left_alone() -> None:
    linear, x = layer(dtype=torch.float64), torch.randn(3, 20).double()
    linear.pack()
    assert not linear.is_packed()
    torch.testing.assert_close(linear(x), F.linear(x, linear.weight, linear.bias))


class Wrapped(nn.Module):
    """What an adapter makes of a layer: another module around it."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(x) + 1
        return result


@torch.no_grad()
def test_other_modules_in_a_layers_place_are_called() -> None:
    inner, x, residual = layer(), torch.randn(3, 20), torch.randn(3, 33)
    expected = F.linear(x, inner.weight, inner.bias) + 1
    inner.pack()
    wrapped = Wrapped(inner)
    torch.testing.assert_close(linear_gelu(wrapped, x), F.gelu(expected))
    torch.testing.assert_close(linear_plus(wrapped, x, residual), expected + residual)
    torch.testing.assert_close(linear_tail(wrapped, x, 4), expected[:, 4:])


@torch.no_grad()
def test_a_packed_model_says_the_same_and_saves_the_same() -> None:
    torch.manual_seed(0)
    config = GitConfig(
        ClipVitConfig(width=32, layers=2, heads=2, mlp_width=64, patch_size=8, image_size=32),
        TextDecoderConfig(width=32, layers=3, heads=2, mlp_width=64, vocabulary_size=61, cls_id=1, sep_id=2),
    )
    model = Git(config).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pixels, tokens = torch.randn(2, 3, 32, 32), torch.randint(0, 61, (2, 3, 5))
    expected = model(pixels, tokens)
    assert model.pack() is model
    packed = [module for module in model.modules() if isinstance(module, Linear) and module.packed is not None]
    assert len(packed) == 2 * 4 + 3 * 4 + 2, "every product of the network is packed"
    tails = [name for name, module in model.named_modules() if getattr(module, "packed_tail", None) is not None]
    assert tails == ["text_decoder.layers.2.attention.qkv"], "the only one whose keys and values are wanted alone"
    torch.testing.assert_close(model(pixels, tokens), expected, rtol=1e-4, atol=1e-5)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])

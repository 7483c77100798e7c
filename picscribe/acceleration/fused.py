"""Transformer layers whose products, activations and residuals are joined, over fast linear layers of any kind."""

from collections.abc import Callable
from typing import Protocol, cast

from torch import Tensor, nn

from picscribe.model import Git
from picscribe.model.attention import attend
from picscribe.model.clip_vit import AttendImage, Block
from picscribe.model.text_decoder import DecoderLayer

QUICK_GELU = 1.702
"""CLIP's QuickGELU is x·sigmoid(1.702x); libraries have swish(x) = x·sigmoid(x), and swish(ax) / a is the same.

So the layer before is multiplied by this number, and the layer behind divided by it."""


class FastLinear(Protocol):
    """A linear layer, and what may follow it."""

    def __call__(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""

    def gelu(self, x: Tensor) -> Tensor:
        """The product, then GELU: (…, in) → (…, out)."""

    def swish(self, x: Tensor) -> Tensor:
        """The product, then x·sigmoid(x): (…, in) → (…, out)."""

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product plus the residual: (…, in) and (…, out) → (…, out)."""


LayOut = Callable[[nn.Linear, float, float], nn.Module]
"""Makes a `FastLinear` of a linear layer whose weight and bias are multiplied by a number each."""


class FusedBlock(nn.Module):
    """`clip_vit.Block`, its names and what it computes."""

    def __init__(self, block: Block, lay_out: LayOut) -> None:
        super().__init__()
        self.attention_norm, self.attention, self.mlp_norm = block.attention_norm, block.attention, block.mlp_norm
        self.up = lay_out(block.up, QUICK_GELU, QUICK_GELU)
        self.down = lay_out(block.down, 1 / QUICK_GELU, 1.0)

    def forward(self, x: Tensor, attend: AttendImage = attend) -> Tensor:
        """(B, I, D) → (B, I, D)."""
        attention = self.attention
        out, up, down = (cast(FastLinear, layer) for layer in (attention.out, self.up, self.down))
        x = out.plus(attend(*attention.project(self.attention_norm(x))), x)
        return down.plus(up.swish(self.mlp_norm(x)), x)


class FusedDecoderLayer(nn.Module):
    """`text_decoder.DecoderLayer` in evaluation mode, its names and what it computes."""

    def __init__(self, layer: DecoderLayer, lay_out: LayOut) -> None:
        super().__init__()
        self.attention, self.attention_norm, self.mlp_norm = layer.attention, layer.attention_norm, layer.mlp_norm
        self.up, self.down = lay_out(layer.up, 1.0, 1.0), lay_out(layer.down, 1.0, 1.0)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """The layer's input and what attention saw of it, both (B, T, D) → (B, T, D)."""
        out, up, down = (cast(FastLinear, layer) for layer in (self.attention.out, self.up, self.down))
        x = self.attention_norm(out.plus(seen, x))
        return self.mlp_norm(down.plus(up.gelu(x), x))


def fuse(network: Git, lay_out: LayOut) -> None:
    """Replace each linear layer with the one that `lay_out` returns, and fuse layers that follow each other."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Block):
                setattr(parent, name, FusedBlock(child, lay_out))
            elif isinstance(child, DecoderLayer):
                setattr(parent, name, FusedDecoderLayer(child, lay_out))
            elif isinstance(child, nn.Linear) and not isinstance(parent, Block | DecoderLayer):
                setattr(parent, name, lay_out(child, 1.0, 1.0))

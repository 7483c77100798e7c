"""A network's layers for inference on a CPU: weights laid out once as oneDNN wants them, and what follows fused.

PyTorch's own product lays the weight out again in every call, which costs more than the product itself where few rows
are multiplied, as in a step of a beam search. A packed weight is laid out once; bias, activation and the sum with the
residual happen while a result is still in the cache; padding makes no copy.

A batch goes through EfficientNet-Lite in parts whose activations the C library keeps: glibc gives blocks of 32 MiB and
more back to the system as soon as they are freed, and the system clears their pages for the next layer, which can take
as long as the convolutions. Figures: `python -m benchmarks.image_encoder`.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.model import Git
from picscribe.model.attention import attend, resize_position_grid
from picscribe.model.clip_vit import AttendImage, Block
from picscribe.model.efficientnet_lite import Convolution, EfficientNetLite, InvertedResidual
from picscribe.model.git import DecoderLayer

LARGEST_ACTIVATION = 28 * 2**20
"""Bytes of one layer's result; below what glibc keeps at most, with room for its own record."""
RELU6 = ("hardtanh", (0.0, 6.0))
NOTHING = ("none", ())

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


# Packed layers


def can_pack(layer: nn.Linear | nn.Conv2d) -> bool:
    """Whether oneDNN takes this layer: on a CPU, in a type that this machine computes in."""
    weight = layer.weight
    if weight.device.type != "cpu" or weight.is_inference() or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and multiplies_bfloat16())


class PackedLinear(nn.Module):
    """A linear layer's weight and bias, times a scale each, packed; it has no gradient and is never saved."""

    def __init__(self, linear: nn.Linear, scale: float = 1.0, bias_scale: float = 1.0) -> None:
        super().__init__()
        weight, bias = linear.weight.detach(), linear.bias.detach()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight if scale == 1 else weight * scale, None)
        self.bias = bias if bias_scale == 1 else bias * bias_scale

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        return self._product(x, "none")

    def gelu(self, x: Tensor) -> Tensor:
        """The product, then GELU: (…, in) → (…, out)."""
        return self._product(x, "gelu", "none")

    def swish(self, x: Tensor) -> Tensor:
        """The product, then x·sigmoid(x): (…, in) → (…, out)."""
        return self._product(x, "swish")

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product plus the residual: (…, in) and (…, out) → (…, out)."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.weight, self.bias, "add")

    def dense(self) -> Tensor:
        """The weight, times its scale, as PyTorch has it: (out, in)."""
        return self.weight.to_dense()

    def _product(self, x: Tensor, activation: str, algorithm: str = "") -> Tensor:
        assert not (torch.is_grad_enabled() and x.requires_grad), "packed weights have no gradient"
        scalars: list[Any] = []
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, activation, scalars, algorithm)


class PackedConvolution(nn.Module):
    """A `Convolution` whose weight is laid out for inputs (B, channels, side, side), B as given, and for B = 1.

    It takes other sizes too, more slowly. It has no gradient and is never saved.
    """

    def __init__(self, convolution: Convolution, images: int, side: int, relu6: bool = True) -> None:
        super().__init__()
        weight, bias = convolution.weight.detach(), convolution.bias
        assert bias is not None
        self.kernel, self.stride, self.groups = weight.shape[-1], convolution.stride[0], convolution.groups
        self.outputs, self.bias, self.after = len(weight), bias.detach(), RELU6 if relu6 else NOTHING
        if self.stride > 1:
            # oneDNN pads both ends alike. A first row and column of zeros moves the filter by the pixel that
            # the padding at the start has too much.
            weight = F.pad(weight, (1, 0, 1, 0))
        # For filters of one pixel, contiguous() leaves strides that oneDNN does not read as channels last.
        weight = torch.empty_like(weight, memory_format=torch.channels_last).copy_(weight)
        self.weight = self._lay_out(weight, [images, convolution.in_channels, side, side])
        # With AMX some layers of one image take another layout; oneDNN would lay the weight out again at each call.
        again = weight.dtype == torch.bfloat16 and images > 1
        self.alone = self._lay_out(weight, [1, convolution.in_channels, side, side]) if again else self.weight

    def _lay_out(self, weight: Tensor, size: list[int]) -> Tensor:
        """The weight as oneDNN wants it for inputs of `size`."""
        padding = self._padding(*size[-2:])
        laid_out = torch.ops.mkldnn._reorder_convolution_weight(
            weight, padding, [self.stride] * 2, [1, 1], self.groups, size
        )
        return cast(Tensor, laid_out)

    def _padding(self, rows: int, columns: int) -> list[int]:
        """Pixels at both ends of each axis."""
        return [self.kernel // 2 + (n % 2 if self.stride > 1 else 0) for n in (rows, columns)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, height, width), channels last → (B, channels, ⌈height/stride⌉, ⌈width/stride⌉)."""
        assert not (torch.is_grad_enabled() and x.requires_grad), "packed weights have no gradient"
        kind, numbers = self.after
        return cast(
            Tensor,
            torch.ops.mkldnn._convolution_pointwise(x, *self._arguments(x), kind, list(numbers), ""),
        )

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """Add the convolution of x to `residual`, in its place."""
        assert not (torch.is_grad_enabled() and x.requires_grad), "packed weights have no gradient"
        nothing: list[Any] = []
        return cast(
            Tensor,
            torch.ops.mkldnn._convolution_pointwise_.binary(
                residual, x, *self._arguments(x), "add", 1.0, None, nothing, None
            ),
        )

    def _arguments(self, x: Tensor) -> tuple[Any, ...]:
        weight = self.alone if len(x) == 1 else self.weight
        return weight, self.bias, self._padding(*x.shape[-2:]), [self.stride] * 2, [1, 1], self.groups


# Fused blocks


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


class FusedInvertedResidual(nn.Module):
    """`InvertedResidual`, its names and what it computes; it may write over its input."""

    def __init__(self, block: InvertedResidual, images: int, side: int) -> None:
        super().__init__()
        self.expand = PackedConvolution(block.expand, images, side) if block.expand is not None else None
        self.depthwise = PackedConvolution(block.depthwise, images, side)
        self.project = PackedConvolution(block.project, images, -(-side // block.depthwise.stride[0]), relu6=False)
        self.residual = block.residual

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, height, width) → (B, outputs, height/stride, width/stride)."""
        hidden = self.depthwise(x if self.expand is None else self.expand(x))
        return self.project.add_to(x, hidden) if self.residual else cast(Tensor, self.project(hidden))


class FusedEfficientNetLite(nn.Module):
    """`EfficientNetLite`, its names and what it computes."""

    def __init__(self, encoder: EfficientNetLite) -> None:
        super().__init__()
        self.config, self.position_embedding = encoder.config, encoder.position_embedding
        self.values = max(self._values(encoder))
        """Of the largest activation, for each 1,024 pixels."""
        side = encoder.config.image_size
        images = self.images_at_a_time(side, side, encoder.position_embedding.itemsize)
        self.stem, side = PackedConvolution(encoder.stem, images, side), -(-side // encoder.stem.stride[0])
        self.blocks = nn.ModuleList()
        for block in cast("list[InvertedResidual]", encoder.blocks):
            self.blocks.append(FusedInvertedResidual(block, images, side))
            side = -(-side // block.depthwise.stride[0])
        self.head: nn.Module = PackedConvolution(encoder.head, images, side)

    @staticmethod
    def _values(encoder: EfficientNetLite) -> list[int]:
        found, reduction = [encoder.stem.out_channels * 1024 // 4], 2
        for block in cast("list[InvertedResidual]", encoder.blocks):
            found.append(block.depthwise.in_channels * 1024 // reduction**2)
            reduction *= block.depthwise.stride[0]
        return [*found, encoder.head.out_channels * 1024 // reduction**2]

    def images_at_a_time(self, rows: int, columns: int, itemsize: int) -> int:
        """As many as leave each activation below `LARGEST_ACTIVATION`, but one at least."""
        return max(1, LARGEST_ACTIVATION * 1024 // (self.values * rows * columns * itemsize))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) → (B, I, D), cells row by row."""
        rows, columns = pixels.shape[-2:]
        images = self.images_at_a_time(rows, columns, pixels.itemsize)
        grid = -(-rows // self.config.stride), -(-columns // self.config.stride)
        position = resize_position_grid(self.position_embedding.detach(), *grid)
        # Of a large batch the system clears this memory each time, so it is written once.
        features = position.new_empty((len(pixels), *position.shape))
        for part, result in zip(torch.split(pixels, images), torch.split(features, images), strict=True):
            if len(part):
                torch.add(self._cells(part), position, out=result)
        return features

    def _cells(self, pixels: Tensor) -> Tensor:
        x = self.stem(pixels.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.head(x)).flatten(2).transpose(1, 2)

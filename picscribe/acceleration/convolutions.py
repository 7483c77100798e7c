"""EfficientNet-Lite in oneDNN's layout, for inference on a CPU.

Weights are laid out once; bias, ReLU6 and residual happen while a result is still in the cache; padding makes no copy.
A batch goes through in parts whose activations the C library keeps: glibc gives blocks of 32 MiB and more back to the
system as soon as they are freed, and the system clears their pages for the next layer, which can take as long as the
convolutions. Figures: `python -m benchmarks.image_encoder`.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.model.clip_vit import resize_position_grid
from picscribe.model.efficientnet_lite import Convolution, EfficientNetLite, InvertedResidual

LARGEST_ACTIVATION = 28 * 2**20
"""Bytes of one layer's result; below what glibc keeps at most, with room for its own record."""
RELU6 = ("hardtanh", (0.0, 6.0))
NOTHING = ("none", ())


class PackedConvolution(nn.Module):
    """A `Convolution` whose weight is laid out for inputs (B, channels, side, side), B as given.

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
        size = [images, convolution.in_channels, side, side]
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight, self._padding(side, side), [self.stride] * 2, [1, 1], self.groups, size
        )

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
        padding = self._padding(*x.shape[-2:])
        return self.weight, self.bias, padding, [self.stride] * 2, [1, 1], self.groups


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
        self.head = PackedConvolution(encoder.head, images, side)

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
        stride = self.config.stride
        cells = [self._cells(part) for part in torch.split(pixels, images) if len(part)]
        grid = -(-rows // stride), -(-columns // stride)
        x = torch.cat(cells) if cells else pixels.new_zeros((0, grid[0] * grid[1], self.config.width))
        return x + resize_position_grid(self.position_embedding, *grid)

    def _cells(self, pixels: Tensor) -> Tensor:
        x = self.stem(pixels.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.head(x)).flatten(2).transpose(1, 2)

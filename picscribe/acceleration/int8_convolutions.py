"""EfficientNet-Lite in int8: filters with a scale per channel, activations with ranges that are known beforehand.

What follows a ReLU6 lies between 0 and 6, so 255 steps of 6/255 hold it and the rounding itself cuts at both ends.
What lies between blocks has no such limits: its ranges are those of a few drawn pictures, widened by `MARGIN`. They
depend on the weights alone, so a caption does not depend on its batch. Values outside are cut.

The stem and the first block stay in floating point, since rounding there costs most of the accuracy.
"""

import copy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.acceleration.arithmetic import multiplies_bfloat16, multiplies_int8
from picscribe.acceleration.fused import FusedEfficientNetLite, FusedInvertedResidual, PackedConvolution
from picscribe.acceleration.int8 import LARGEST, SMALLEST, round_to_uint8, without_warnings
from picscribe.model.efficientnet_lite import Convolution, EfficientNetLite, InvertedResidual

STEPS = 255
RELU6_STEP = 6 / STEPS
WIDEST = 1e30
PICTURES = 4
RECTANGLES = 100
"""In each picture."""
MARGIN = 1.5
"""Deep layers reach about 1.5 times as far with photos as with drawn pictures."""
WHITE = 2.6
"""About the largest value of a normalised pixel."""


def can_convolve_int8() -> bool:
    """Whether this processor sums products of 8 bits, and PyTorch has oneDNN's convolutions as they are called here."""
    has_operations = hasattr(torch.ops.onednn, "qconv2d_pointwise") and hasattr(torch, "quantize_per_tensor")
    if not (multiplies_int8() and has_operations):
        return False
    schema = torch.ops.onednn.qconv2d_pointwise.binary._schema
    return [argument.name for argument in schema.arguments][6:8] == ["qaccum", "bias"]


class Range:
    """Values from `low` to `high`, zero among them, in 255 steps: value = (number − zero) · step."""

    def __init__(self, low: float, high: float) -> None:
        # Weights that are no numbers give a range of zero, and results that are no better.
        low, high = max(min(0.0, low), -WIDEST), min(max(0.0, high), WIDEST)
        self.step = max((high - low) / STEPS, SMALLEST)
        self.zero = round(-low / self.step)

    def quantize(self, x: Tensor) -> Tensor:
        """Round (B, channels, height, width), float32 and channels last, to uint8."""
        return round_to_uint8(x.permute(0, 2, 3, 1), self.step, self.zero).permute(0, 3, 1, 2)


class Int8Convolution(nn.Module):
    """A `Convolution` of uint8 activations, laid out for inputs (B, channels, side, side); it takes other sizes too.

    given: the range of its inputs; without one they come out of a ReLU6. relu6: the result is uint8 after ReLU6;
    otherwise it is float32 without. It has no gradient and is never saved.
    """

    def __init__(
        self, convolution: Convolution, images: int, side: int, given: Range | None = None, relu6: bool = True
    ) -> None:
        super().__init__()
        weight, bias = convolution.weight.detach().float(), convolution.bias
        assert bias is not None
        self.kernel, self.stride, self.groups = weight.shape[-1], convolution.stride[0], convolution.groups
        self.scale = weight.abs().amax((1, 2, 3)).clamp(min=SMALLEST) / LARGEST
        rounded = (weight / self.scale[:, None, None, None]).round().to(torch.int8)
        self.zeros, self.bias = torch.zeros(len(weight), dtype=torch.long), bias.detach().float()
        self.step = RELU6_STEP if given is None else given.step
        if given is not None:
            assert self.kernel == 1, "padding adds zeros, which would have to be `given.zero`"
            self.bias = self.bias - rounded.float().sum((1, 2, 3)) * self.scale * (given.zero * given.step)
        if self.stride > 1:
            rounded = F.pad(rounded, (1, 0, 1, 0))  # as in `PackedConvolution`
        self.result = (RELU6_STEP, 0, torch.uint8) if relu6 else (1.0, 0, torch.float32)
        sizes = [self.stride] * 2, self._padding(side, side), [1, 1], self.groups
        self.weight = torch.ops.onednn.qconv_prepack(
            rounded, self.scale, self.step, 0, *sizes, [images, convolution.in_channels, side, side]
        )

    def _padding(self, rows: int, columns: int) -> list[int]:
        """Pixels at both ends of each axis."""
        return [self.kernel // 2 + (n % 2 if self.stride > 1 else 0) for n in (rows, columns)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, height, width) uint8, channels last → (B, channels, ⌈height/stride⌉, ⌈width/stride⌉)."""
        sizes = [self.stride] * 2, self._padding(*x.shape[-2:]), [1, 1], self.groups
        return cast(
            Tensor,
            torch.ops.onednn.qconv2d_pointwise(
                x, self.step, 0, self.weight, self.scale, self.zeros, self.bias, *sizes, *self.result, "none", [], None
            ),
        )

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """The convolution of x plus `residual`, which may be written over."""
        sizes = [self.stride] * 2, self._padding(*x.shape[-2:]), [1, 1], self.groups
        given = x, self.step, 0, self.weight, self.scale, self.zeros, residual, self.bias
        then: tuple[Any, ...] = (1.0, 0, "sum", 1.0, "none", [], None)
        return cast(Tensor, torch.ops.onednn.qconv2d_pointwise.binary(*given, *sizes, *self.result, *then))


class Int8InvertedResidual(nn.Module):
    """`InvertedResidual` with an expansion; it takes and gives float32, and may write over its input."""

    def __init__(self, block: InvertedResidual, images: int, side: int, given: Range) -> None:
        super().__init__()
        assert block.expand is not None
        self.given, self.residual = given, block.residual
        self.expand = Int8Convolution(block.expand, images, side, given)
        self.depthwise = Int8Convolution(block.depthwise, images, side)
        self.project = Int8Convolution(block.project, images, -(-side // block.depthwise.stride[0]), relu6=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, height, width) → (B, outputs, height/stride, width/stride)."""
        hidden = self.depthwise(self.expand(self.given.quantize(x)))
        return self.project.add_to(x, hidden) if self.residual else cast(Tensor, self.project(hidden))


class Int8EfficientNetLite(FusedEfficientNetLite):
    """`EfficientNetLite`, its names and about what it computes."""

    def __init__(self, encoder: EfficientNetLite) -> None:
        super().__init__(encoder)
        side = encoder.config.image_size
        images, ranges = self.images_at_a_time(side, side, 4), self._ranges(draw_pictures(PICTURES, side))
        if multiplies_bfloat16():
            self.stem = PackedConvolution(copy.deepcopy(encoder.stem).bfloat16(), images, side)
        side = -(-side // encoder.stem.stride[0])
        for number, block in enumerate(cast("list[InvertedResidual]", encoder.blocks)):
            if number:
                self.blocks[number] = Int8InvertedResidual(block, images, side, ranges[number])
            elif multiplies_bfloat16():
                self.blocks[0] = FusedInvertedResidual(copy.deepcopy(block).bfloat16(), images, side)
            side = -(-side // block.depthwise.stride[0])
        self.given = ranges[-1]
        with without_warnings():
            self.given.quantize(torch.zeros(1, 1, 1, 1))
        self.head = Int8Convolution(encoder.head, images, side, self.given, relu6=False)

    def _ranges(self, pixels: Tensor) -> list[Range]:
        """Of what each block gets and what the head gets, in float32."""
        x, found = self.stem(pixels.contiguous(memory_format=torch.channels_last)), []
        for layer in [*self.blocks, self.head]:
            low, high = torch.aminmax(x)
            found.append(Range(MARGIN * float(low), MARGIN * float(high)))
            x = layer(x)
        return found

    def _cells(self, pixels: Tensor) -> Tensor:
        x = pixels.contiguous(memory_format=torch.channels_last)
        x = self.blocks[0](self.stem(x.to(self.stem.bias.dtype))).float()
        for block in self.blocks[1:]:
            x = block(x)
        x = self.head(self.given.quantize(x)).clamp_(0, 6)
        return x.flatten(2).transpose(1, 2)


def draw_pictures(count: int, side: int) -> Tensor:
    """Rectangles of all sizes and colours over each other, some with grain: (count, 3, side, side), always the same.

    Edges and plain areas of all sizes drive the network about as far as photos do; plain noise does not.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    pixels = WHITE * (2 * draw(count, 3, 1, 1) - 1) * torch.ones(1, 1, side, side)
    for picture in pixels:
        for across, down, left, top, brightness, *colour in draw(RECTANGLES, 8).tolist():
            width, height = (max(1, int(0.04 * side / (edge + 0.05))) for edge in (across, down))
            x, y = (int((1.2 * start - 0.2) * side) for start in (left, top))
            shade = torch.tensor(colour).view(3, 1, 1) * 1.4 - 0.7 + 4 * brightness - 2
            picture[:, max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = shade
    grain = torch.randn(pixels.shape, generator=generator) * 0.4 * draw(count, 1, 1, 1)
    return (pixels + grain).clamp(-WHITE, WHITE)

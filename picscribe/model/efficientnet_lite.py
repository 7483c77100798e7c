"""EfficientNet-Lite without its classifier: pixels → one vector a cell of a grid 32 times coarser.

Batch normalisation is folded into the convolutions, as in deployment; fine-tuning keeps ImageNet's statistics.
Source of the table: the EfficientNet paper (arXiv 1905.11946, table 1) and the Lite variants' rules: ReLU6, no
squeeze-and-excitation, stem and head not scaled, first and last stage not deepened.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.model.clip_vit import resize_position_grid
from picscribe.model.config import EfficientNetLiteConfig
from picscribe.model.depthwise import depthwise, learns_slowly

# Expansion, output channels, blocks, kernel, stride of each stage at scale 1.
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # variant → width, depth
STEM_CHANNELS = 32


def scale_channels(channels: int, width: float) -> int:
    """Scaled channels rounded to a multiple of 8, never down by more than a tenth."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class Convolution(nn.Conv2d):
    """A convolution padded so that the output is ⌈input / stride⌉, the odd pixel at the end, as TensorFlow's "same"."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, height, width) → (B, channels, ⌈height/stride⌉, ⌈width/stride⌉)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        slow = self.groups > 1 and learns_slowly(x, self.weight, stride)
        if stride == 1 and not slow:
            return F.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        pads = [max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:]]
        rows, columns = pads
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        if slow:
            assert self.bias is not None
            return depthwise(x, self.weight, self.bias, stride)
        return F.conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)


class InvertedResidual(nn.Module):
    """Expand, filter each channel alone, project; the input is added where shapes allow."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = Convolution(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = Convolution(hidden, hidden, kernel, stride, groups=hidden)
        self.project = Convolution(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, height, width) → (B, outputs, height/stride, width/stride)."""
        hidden = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.depthwise(hidden)))
        return out + x if self.residual else out


class EfficientNetLite(nn.Module):
    """The small image encoder of picscribe's own models, with a learned position a cell."""

    def __init__(self, variant: int, cells: int, features: int = EfficientNetLiteConfig.features) -> None:
        super().__init__()
        self.variant = variant
        width, depth = SCALES[variant]
        self.stem = Convolution(3, STEM_CHANNELS, 3, 2)
        self.blocks = nn.ModuleList()
        inputs = STEM_CHANNELS
        for index, (expansion, channels, repeats, kernel, stride) in enumerate(STAGES):
            outputs = scale_channels(channels, width)
            edge = index in (0, len(STAGES) - 1)
            for repeat in range(repeats if edge else math.ceil(repeats * depth)):
                self.blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, stride if repeat == 0 else 1))
                inputs = outputs
        self.head = Convolution(inputs, features, 1)
        self.position_embedding = nn.Parameter(torch.zeros(cells, features))

    def channels_after(self, blocks: int) -> int:
        """Channels of what `lower` gives."""
        return cast("InvertedResidual", self.blocks[blocks - 1]).project.out_channels if blocks else STEM_CHANNELS

    def lower(self, pixels: Tensor, blocks: int) -> Tensor:
        """The stem and the first `blocks` blocks: (B, 3, height, width) → (B, channels, rows, columns)."""
        x = F.relu6(self.stem(pixels.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks[:blocks]:
            x = block(x)
        return x

    def upper(self, features: Tensor, blocks: int) -> Tensor:
        """What comes after the first `blocks` blocks: (B, channels, rows, columns) → (B, I, D)."""
        x = features
        for block in self.blocks[blocks:]:
            x = block(x)
        x = F.relu6(self.head(x))
        rows, columns = x.shape[-2:]
        return x.flatten(2).transpose(1, 2) + resize_position_grid(self.position_embedding, rows, columns)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) → (B, I, D), cells row by row."""
        return self.upper(self.lower(pixels, 0), 0)


class EfficientNetLites(nn.Module):
    """Several beside each other, each with weights of its own: of a cell, what all of them make of it in a row.

    Networks that were trained apart err apart, so that together they see more than the best of them.
    """

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__()
        networks = [EfficientNetLite(variant, config.tokens, config.features) for variant in config.variants]
        self.members = cast("list[EfficientNetLite]", nn.ModuleList(networks))

    @property
    def blocks(self) -> nn.ModuleList:
        """Those of the first; the others have as many."""
        return self.members[0].blocks

    def lower(self, pixels: Tensor, blocks: int) -> Tensor:
        """Stems and first `blocks` blocks: (B, 3, height, width) → (B, all channels, rows, columns)."""
        return torch.cat([member.lower(pixels, blocks) for member in self.members], dim=1)

    def upper(self, features: Tensor, blocks: int) -> Tensor:
        """What comes after the first `blocks` blocks: (B, all channels, rows, columns) → (B, I, D)."""
        parts = torch.split(features, [member.channels_after(blocks) for member in self.members], dim=1)
        seen = [
            member.upper(part.contiguous(memory_format=torch.channels_last), blocks)
            for member, part in zip(self.members, parts, strict=True)
        ]
        return torch.cat(seen, dim=2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) → (B, I, D), cells row by row."""
        return torch.cat([member(pixels) for member in self.members], dim=2)

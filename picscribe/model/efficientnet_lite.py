"""EfficientNet-Lite without its classifier: pixels → one vector per cell of a grid 32 times coarser.

Batch normalisation is folded into the convolutions, as in deployment; fine-tuning keeps ImageNet's statistics.
Source of the table: the EfficientNet paper (arXiv 1905.11946, table 1) and the Lite variants' rules: ReLU6, no
squeeze-and-excitation, stem and head not scaled, first and last stage not deepened.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.model.attention import resize_position_grid
from picscribe.model.config import EfficientNetLiteConfig

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
        if stride == 1:
            return F.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        return F.conv2d(self.pad(x), self.weight, self.bias, stride, 0, 1, self.groups)

    def pad(self, x: Tensor) -> Tensor:
        """The input with the zeros around it that the filters reach."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
        return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


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
    """The small image encoder of picscribe's own models, with a learned position per cell."""

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__()
        self.config = config
        width, depth = SCALES[config.variant]
        self.stem = Convolution(3, STEM_CHANNELS, 3, 2)
        self.blocks = nn.ModuleList()
        inputs = STEM_CHANNELS
        for index, (expansion, channels, repeats, kernel, stride) in enumerate(STAGES):
            outputs = scale_channels(channels, width)
            edge = index in (0, len(STAGES) - 1)
            for repeat in range(repeats if edge else math.ceil(repeats * depth)):
                self.blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, stride if repeat == 0 else 1))
                inputs = outputs
        self.head = Convolution(inputs, config.width, 1)
        self.position_embedding = nn.Parameter(torch.zeros(config.tokens, config.width))

    def encode_until(self, block: int, pixels: Tensor) -> Tensor:
        """The stem and the blocks before number `block`: (B, 3, height, width) → (B, channels, rows, columns)."""
        x = F.relu6(self.stem(pixels.contiguous(memory_format=torch.channels_last)))
        for each in self.blocks[:block]:
            x = each(x)
        return x

    def encode_from(self, block: int, x: Tensor) -> Tensor:
        """The blocks from number `block` on, and the head: (B, channels, rows, columns) → (B, I, D)."""
        for each in self.blocks[block:]:
            x = each(x)
        x = F.relu6(self.head(x))
        rows, columns = x.shape[-2:]
        return x.flatten(2).transpose(1, 2) + resize_position_grid(self.position_embedding, rows, columns)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) → (B, I, D), cells row by row."""
        return self.encode_from(0, self.encode_until(0, pixels))

"""Depthwise convolutions that learn fast in bfloat16 on a CPU.

oneDNN has quick bfloat16 kernels for the forward pass and for the gradient of 3 × 3 filters; what else learning needs
takes a plain loop, up to a hundred times as long as the forward pass. Here the rest is made of what is quick: four
overlapping 3 × 3 windows cover a 5 × 5 filter, each the gradient of a 3 × 3 filter over a shifted input; of a stride of
two, every second input and weight make a convolution of stride one; and the gradient of a strided input is a forward
pass over the output's, spread out. Figures: `python -m benchmarks.depthwise`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.model.efficientnet_lite import Convolution

WINDOW = 3


class DepthwiseConvolution(Convolution):
    """A depthwise convolution that learns fast."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, height, width) → (B, channels, ⌈height/stride⌉, ⌈width/stride⌉)."""
        if not learns_slowly(x, self.weight, self.stride[0]):
            return super().forward(x)
        assert self.bias is not None
        return depthwise(self.pad(x), self.weight, self.bias, self.stride[0])


def learn_depthwise_fast(network: nn.Module) -> None:
    """Let the network's depthwise convolutions learn fast; its parameters stay the same objects."""
    for module in network.modules():
        if isinstance(module, Convolution) and module.groups > 1:
            module.__class__ = DepthwiseConvolution


def learns_slowly(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Whether gradients of x under depthwise filters (C, 1, k, k), or of the filters, would take the plain loop."""
    if not torch.is_grad_enabled() or x.device.type != "cpu":
        return False
    computed_in = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    slow_filters = weight.requires_grad and weight.shape[-1] > WINDOW
    slow_input = x.requires_grad and stride > 1
    return computed_in == torch.bfloat16 and (slow_filters or slow_input)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """x (B, C, height, width), padded already, under filters (C, 1, k, k) → (B, C, rows, columns), in bfloat16."""
    y: Tensor = _Depthwise.apply(x.bfloat16(), weight, bias, stride)  # type: ignore[no-untyped-call]
    return y


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        """The convolution."""
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight.bfloat16(), bias.bfloat16(), stride, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Of the input, the filters and the bias, where they are wanted."""
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _gradient_of_input(gradient, x, weight.bfloat16(), ctx.stride)
        if ctx.needs_input_grad[1]:
            of_weight = _gradient_of_filters(gradient, x, weight, ctx.stride)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3), dtype=torch.float32)
        return of_x, of_weight, of_bias, None


def _gradient_of_input(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    if stride == 1:
        return _gradients(gradient, x, weight, 1, (True, False, False))[0]
    (rows, columns), kernel, (high, wide) = gradient.shape[-2:], weight.shape[-1], x.shape[-2:]
    shape = (*gradient.shape[:2], high + kernel - 1, wide + kernel - 1)
    spread = gradient.new_zeros(shape).contiguous(memory_format=torch.channels_last)
    ends = (kernel - 1 + (rows - 1) * stride + 1, kernel - 1 + (columns - 1) * stride + 1)
    spread[:, :, kernel - 1 : ends[0] : stride, kernel - 1 : ends[1] : stride] = gradient
    return F.conv2d(spread, weight.flip(-1, -2), groups=len(weight))


def _gradient_of_filters(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    if weight.shape[-1] <= WINDOW:
        return _gradients(gradient, x, weight.bfloat16(), stride, (False, True, False))[1].to(weight.dtype)
    (rows, columns), found = gradient.shape[-2:], torch.empty_like(weight)
    tile = x.new_zeros(len(weight), 1, WINDOW, WINDOW)
    for row in range(stride):
        for column in range(stride):
            some, seen = found[:, :, row::stride, column::stride], x[:, :, row::stride, column::stride]
            for top in _starts(some.shape[-2]):
                for left in _starts(some.shape[-1]):
                    part = seen[:, :, top : top + rows + WINDOW - 1, left : left + columns + WINDOW - 1]
                    # A filter smaller than a window does not reach the window's end.
                    missing = (columns + WINDOW - 1 - part.shape[-1], rows + WINDOW - 1 - part.shape[-2])
                    part = F.pad(part, (0, missing[0], 0, missing[1])).contiguous(memory_format=torch.channels_last)
                    window = _gradients(gradient, part, tile, 1, (False, True, False))[1]
                    into = some[:, :, top : top + WINDOW, left : left + WINDOW]
                    into.copy_(window[:, :, : into.shape[-2], : into.shape[-1]])
    return found


def _starts(size: int) -> list[int]:
    """The positions of windows that cover so many weights."""
    return sorted({*range(0, max(1, size - WINDOW), WINDOW - 1), max(0, size - WINDOW)})


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """oneDNN's gradients, of those of input, filters and bias that are wanted."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride, stride], [0, 0], [1, 1], False, [0, 0], len(weight), list(wanted)
    )
    return found

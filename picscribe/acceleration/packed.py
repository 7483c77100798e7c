"""Linear layers in oneDNN's layout, for inference on a CPU.

PyTorch's own product lays the weight out again in every call, which costs more than the product itself where few rows
are multiplied, as in a step of a beam search. A packed weight is laid out once; bias, activation and the sum with the
residual happen while a result is still in the cache.
"""

from typing import Any

import torch
from torch import Tensor, nn

from picscribe.acceleration.arithmetic import multiplies_bfloat16


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

"""Linear layers in int8: weights rounded once, a scale per output channel; activations as they come, a scale per row.

A third of the time of float32 where many rows are multiplied, and a quarter of the memory to read where few are.
Since each row is rounded by its own range, a result does not depend on what else is in its batch.
"""

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.acceleration.arithmetic import multiplies_int8
from picscribe.acceleration.fused import fuse
from picscribe.errors import ConfigurationError
from picscribe.model import Git

LARGEST = 127
SMALLEST = 1e-30
"""The range of a row or a channel that is smaller or zero, so that scales stay numbers that the engines take."""
ENGINES = ("fbgemm", "qnnpack")
ROWS = 128
"""Rows that a thread multiplies at a time: what comes before and after the product finds them in its cache."""


def quantize(network: Git) -> Git:
    """The network with its linear layers in int8, for inference on a CPU; it takes the place of `network`.

    Layers are replaced one by one, so that no second set of weights is in memory. Embeddings and convolutions stay;
    those of EfficientNet-Lite are rounded where the network's fast form is made, see `int8_convolutions`.
    """
    fuse(network, Int8Linear.of)
    return network


def is_int8(network: Git) -> bool:
    """Whether `quantize` was here."""
    return isinstance(network.text_decoder.output, Int8Linear)


def has_engine() -> bool:
    """Whether PyTorch has an int8 engine on this machine."""
    return any(engine in torch.backends.quantized.supported_engines for engine in ENGINES)


def find_engine() -> str:
    """PyTorch's int8 engine on this machine. Raises ConfigurationError where it has none."""
    engines = torch.backends.quantized.supported_engines
    for engine in ENGINES:
        if engine in engines:
            return engine
    raise ConfigurationError(
        "int8 cannot be used: this PyTorch was built without fbgemm and qnnpack; leave quantize out"
    )


def _pack(weight: Tensor, scale: Tensor) -> Any:
    """Lay rows out for the engine; which one it is goes with the result."""
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        # PyTorch means to move these tensors to another package; the products stay.
        warnings.simplefilter("ignore", UserWarning)
        torch.backends.quantized.engine = find_engine()
        try:
            zeros = torch.zeros(len(weight), dtype=torch.long)
            quantised = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
            return torch.ops.quantized.linear_prepack(quantised, None)
        finally:
            torch.backends.quantized.engine = before


def _product(rows: Tensor, packed: Any, below: int, above: int) -> Tensor:
    """(n, in) of −below/above to 1, rounded to so many steps → (n, out), by fbgemm."""
    product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    return cast(Tensor, product(rows, 1 / above, below, packed))


def _product_of_batch(rows: Tensor, packed: Any, below: int, above: int) -> Tensor:
    """The same by an engine that rounds by the range of the batch: a row more makes that the same always."""
    range_row = rows.new_zeros((1, rows.shape[1]))
    range_row[0, 0], range_row[0, -1] = -below / above, 1
    return cast(Tensor, torch.ops.quantized.linear_dynamic(torch.cat([rows, range_row]), packed, False))[:-1]


class Int8Linear(nn.Module):
    """What a linear layer becomes: `weight` int8 (out, in), `scale` and `bias` float32 (out,), all of them buffers.

    For inference on a CPU: it has no gradient, and raises ConfigurationError where one is asked for.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        # Without VNNI a sum of two products may overflow 16 bits; activations of 7 bits keep it below.
        steps = 255 if multiplies_int8() else 127
        # What is wider than its product comes out of an activation: little is below zero there.
        self.below = steps // (4 if weight.shape[1] > weight.shape[0] else 2)
        """Steps that an activation below zero is rounded to, and those above it."""
        self.above = steps - self.below
        self.ratio = -self.above / self.below
        self.product = _product if find_engine() == "fbgemm" else _product_of_batch
        self._packed: tuple[tuple[int, ...], Any] | None = None

    @classmethod
    def of(cls, linear: nn.Linear, scale: float = 1.0, bias_scale: float = 1.0) -> "Int8Linear":
        """A linear layer rounded to int8, its product and its bias times a number each."""
        values = linear.weight.detach().float() * scale
        of_channel = values.abs().amax(1).clamp(min=SMALLEST) / LARGEST
        weight = (values / of_channel[:, None]).round().to(torch.int8)
        return cls(weight, of_channel, linear.bias.detach().float() * bias_scale)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out), float32."""
        return self._rows(x)

    def gelu(self, x: Tensor) -> Tensor:
        """The product, then GELU: (…, in) → (…, out)."""
        return self._rows(x, torch.ops.aten.gelu_)

    def swish(self, x: Tensor) -> Tensor:
        """The product, then x·sigmoid(x): (…, in) → (…, out)."""
        return self._rows(x, lambda result: F.silu(result, inplace=True))

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product plus the residual: (…, in) and (…, out) → (…, out)."""
        return self._rows(x).add_(residual)

    def _rows(self, x: Tensor, then: Callable[[Tensor], object] | None = None) -> Tensor:
        """The product and what is done to it in its place, some rows at a time."""
        if x.requires_grad and torch.is_grad_enabled():
            raise ConfigurationError("int8 weights have no gradient: load the model without quantize")
        if not x.numel():
            return x.new_zeros((*x.shape[:-1], len(self.weight)))
        packed, step = self.pack(), ROWS * torch.get_num_threads()
        rows = x.flatten(0, -2)
        if len(rows) <= step:
            results = self._product(rows, packed, then)
        else:
            results = rows.new_empty((len(rows), len(self.weight)))
            for some, result in zip(torch.split(rows, step), torch.split(results, step), strict=True):
                self._product(some, packed, then, result)
        return results.view(*x.shape[:-1], len(self.weight))

    def _product(
        self, rows: Tensor, packed: Any, then: Callable[[Tensor], object] | None, out: Tensor | None = None
    ) -> Tensor:
        high, low = rows.amax(1, keepdim=True), rows.amin(1, keepdim=True)
        # The size of a row is what becomes the last step above zero, or the last below it.
        size = torch.maximum(high, low.mul_(self.ratio)).clamp_(min=SMALLEST)
        product = self.product(rows / size, packed, self.below, self.above)
        result = torch.addcmul(self.bias, product, size, out=product if out is None else out)
        if then is not None:
            then(result)
        return result

    def pack(self) -> Any:
        """The weight in the engine's layout, laid out once for as long as it stays what it is."""
        now = tuple(y for x in (self.weight, self.scale) for y in (x.data_ptr(), _version(x)))
        packed = self._packed
        if packed is None or packed[0] != now:
            packed = self._packed = now, _pack(self.weight, self.scale)
        return packed[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # a copy packs its own


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version

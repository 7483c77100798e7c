"""Linear layers in int8: weights rounded once, a scale per output channel; activations as they come, a scale per row.

A third of the time of float32 where many rows are multiplied, and a quarter of the memory to read where few are.
Since each row is rounded by its own range, a result does not depend on what else is in its batch.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

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
ROWS = 256
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


class Engine(Protocol):
    """One of PyTorch's int8 products; it has laid a weight out."""

    def __init__(self, weight: Tensor, scale: Tensor, below: int, above: int) -> None:
        """Lay out a weight (out, in) of int8 with a scale for each row.

        Inputs lie between −below/above and 1; they are rounded to so many steps below and above zero.
        """

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, in) → (n, out), float32."""


class OneDnn:
    """Where the processor has VNNI or AMX: a quarter faster than fbgemm."""

    LEAST = 4
    """Rows. For one or two of them AMX may sum in another order, so a caption would depend on its batch."""

    def __init__(self, weight: Tensor, scale: Tensor, below: int, above: int) -> None:
        self.step, self.zero, self.scale = 1 / above, below, scale
        self.weight = torch.ops.onednn.qlinear_prepack(weight, None)
        # Inputs are stored from 0 on. What that adds to a product is taken off with the bias.
        self.bias = weight.sum(1).float() * scale * (-below / above)
        self.zeros = torch.zeros(len(weight), dtype=torch.long)
        with without_warnings():
            round_to_uint8(torch.zeros(1), 1.0, 0)

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, in) → (n, out), float32."""
        numbers = round_to_uint8(rows, self.step, self.zero)
        if len(rows) < self.LEAST:
            numbers = F.pad(numbers, (0, 0, 0, self.LEAST - len(rows)))
        given = numbers, self.step, 0, self.weight, self.scale, self.zeros, self.bias
        product: Tensor = torch.ops.onednn.qlinear_pointwise(*given, 1.0, 0, torch.float32, "none", [], "")
        return product[: len(rows)]


class Fbgemm:
    """Any x86 processor."""

    name = "fbgemm"

    def __init__(self, weight: Tensor, scale: Tensor, below: int, above: int) -> None:
        self.below, self.above, self.weight = below, above, _lay_out(self.name, weight, scale)

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, in) → (n, out), float32."""
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        return cast(Tensor, product(rows, 1 / self.above, self.below, self.weight))


class Qnnpack(Fbgemm):
    """Arm. It rounds by the range of the batch: a row more makes that always the same."""

    name = "qnnpack"

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, in) → (n, out), float32."""
        range_row = rows.new_zeros((1, rows.shape[1]))
        range_row[0, 0], range_row[0, -1] = -self.below / self.above, 1
        return cast(Tensor, torch.ops.quantized.linear_dynamic(torch.cat([rows, range_row]), self.weight, False))[:-1]


def find_engines() -> list[type[Engine]]:
    """PyTorch's int8 engines on this machine, the fastest first."""
    has_operations = hasattr(torch.ops.onednn, "qlinear_pointwise") and hasattr(torch, "quantize_per_tensor")
    fastest: list[type[Engine]] = [OneDnn] if multiplies_int8() and has_operations else []
    others = [engine for engine in (Fbgemm, Qnnpack) if engine.name in torch.backends.quantized.supported_engines]
    return [*fastest, *others]


def _lay_out(engine: str, weight: Tensor, scale: Tensor) -> Any:
    """Lay a weight out for the engine; which one it is goes with the result."""
    before = torch.backends.quantized.engine
    with without_warnings():
        torch.backends.quantized.engine = engine
        try:
            zeros = torch.zeros(len(weight), dtype=torch.long)
            quantised = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
            return torch.ops.quantized.linear_prepack(quantised, None)
        finally:
            torch.backends.quantized.engine = before


def round_to_uint8(x: Tensor, step: float, zero: int) -> Tensor:
    """Round float32 to uint8: value = (number − zero) · step. Values outside are cut."""
    quantised = torch.quantize_per_tensor(x, step, zero, torch.quint8)
    # int_repr() would copy, which takes six times as long as the rounding.
    numbers = torch.empty(0, dtype=torch.uint8)
    numbers.set_(quantised.untyped_storage(), 0, quantised.shape, quantised.stride())
    return numbers


@contextmanager
def without_warnings() -> Iterator[None]:
    """PyTorch means to move what is quantised to another package, and says so once; the products stay."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


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
        engines = find_engines()
        if not engines:
            raise ConfigurationError(
                "int8 cannot be used: this PyTorch was built without oneDNN, fbgemm and qnnpack; leave quantize out"
            )
        self.engine = engines[0]
        self._packed: tuple[tuple[int, ...], Engine] | None = None

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
        self, rows: Tensor, packed: Engine, then: Callable[[Tensor], object] | None, out: Tensor | None = None
    ) -> Tensor:
        high, low = rows.amax(1, keepdim=True), rows.amin(1, keepdim=True)
        # The size of a row is what becomes the last step above zero, or the last below it.
        size = torch.maximum(high, low.mul_(self.ratio)).clamp_(min=SMALLEST)
        product = packed(rows / size)
        result = torch.addcmul(self.bias, product, size, out=product if out is None else out)
        if then is not None:
            then(result)
        return result

    def pack(self) -> Engine:
        """The weight in the engine's layout, laid out once for as long as it stays what it is."""
        now = tuple(y for x in (self.weight, self.scale) for y in (x.data_ptr(), _version(x)))
        packed = self._packed
        if packed is None or packed[0] != now:
            packed = self._packed = now, self.engine(self.weight, self.scale, self.below, self.above)
        return packed[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # a copy packs its own


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version

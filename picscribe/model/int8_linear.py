"""Linear layers in int8: weights rounded once, a scale an output channel; activations rounded as they come.

About half the time of float32 where many rows are multiplied, and a quarter of the memory to read where few are. The
range of the activations is that of the whole batch, so a result depends a little on what else is in it; below a range
of 1/64, which is far below what layer norms leave, the engines round no finer.
"""

import warnings
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.errors import ConfigurationError

LARGEST = 127
ENGINES = ("fbgemm", "qnnpack")


def find_engine() -> str:
    """PyTorch's int8 engine on this machine. Raises ConfigurationError where it has none."""
    engines = torch.backends.quantized.supported_engines
    for engine in ENGINES:
        if engine in engines:
            return engine
    raise ConfigurationError("int8 cannot be used: this PyTorch was built without fbgemm and qnnpack")


def _pack(weight: Tensor, scale: Tensor, bias: Tensor) -> Any:
    """Lay rows out for the engine; which one it is goes with the result."""
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        # PyTorch means to move these tensors to another package; the products stay.
        warnings.simplefilter("ignore", UserWarning)
        torch.backends.quantized.engine = find_engine()
        try:
            zeros = torch.zeros(len(weight), dtype=torch.long)
            quantised = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
            return torch.ops.quantized.linear_prepack(quantised, bias)
        finally:
            torch.backends.quantized.engine = before


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
        self.seven_bits = not torch.cpu._is_vnni_supported()
        self.tail_start = 0
        self._packed: dict[int, tuple[tuple[int, ...], Any]] = {}

    @classmethod
    def of(cls, linear: nn.Linear, scale: float = 1.0, bias_scale: float = 1.0) -> "Int8Linear":
        """A linear layer rounded to int8, its product and its bias times a number each."""
        values = linear.weight.detach().float() * scale
        of_channel = values.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny * LARGEST) / LARGEST
        weight = (values / of_channel[:, None]).round().to(torch.int8)
        return cls(weight, of_channel, linear.bias.detach().float() * bias_scale)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out), float32."""
        return self.tail(x, 0)

    def tail(self, x: Tensor, start: int) -> Tensor:
        """The outputs from `start` on alone: (…, in) → (…, out - start)."""
        if x.requires_grad and torch.is_grad_enabled():
            raise ConfigurationError("int8 weights have no gradient: load the model without quantize")
        if not x.numel():
            return x.new_zeros((*x.shape[:-1], len(self.weight) - start))
        return cast(Tensor, torch.ops.quantized.linear_dynamic(x.contiguous(), self._rows(start), self.seven_bits))

    def pack(self) -> None:
        """Lay the rows out now instead of at the first product, those from `tail_start` on once more."""
        self._rows(0)
        self._rows(self.tail_start)

    def _rows(self, start: int) -> Any:
        """The rows from `start` on, packed once for as long as they stay what they are."""
        now = tuple(y for x in (self.weight, self.scale, self.bias) for y in (x.data_ptr(), _version(x)))
        if start not in self._packed or self._packed[start][0] != now:
            self._packed[start] = now, _pack(self.weight[start:], self.scale[start:], self.bias[start:])
        return self._packed[start][1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": {}}


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def quick_gelu_int8(up: Int8Linear, down: Int8Linear, x: Tensor, residual: Tensor) -> Tensor:
    """`up`, QuickGELU, `down`, plus the residual, of layers that `quantize` scaled so that silu is QuickGELU."""
    return down(F.silu(up(x), inplace=True)).add_(residual)

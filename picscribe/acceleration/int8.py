"""Linear layers in int8: weights rounded once, a scale per output channel; activations rounded as they come.

About half the time of float32 where many rows are multiplied, and a quarter of the memory to read where few are. The
range of the activations is that of the whole batch, so a result depends a little on what else is in it; below a range
of 1/64, which is far below what layer norms leave, the engines round no finer.
"""

import warnings
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.acceleration.fused import fuse
from picscribe.errors import ConfigurationError
from picscribe.model import Git

LARGEST = 127
ENGINES = ("fbgemm", "qnnpack")


def quantize(network: Git) -> Git:
    """The network with its linear layers in int8, for inference on a CPU; it takes the place of `network`.

    Layers are replaced one by one, so that no second set of weights is in memory. Embeddings and convolutions stay:
    those of the patches and of EfficientNet-Lite.
    """
    fuse(network, Int8Linear.of)
    return network


def is_int8(network: Git) -> bool:
    """Whether `quantize` was here."""
    return isinstance(network.text_decoder.output, Int8Linear)


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
        self._packed: tuple[tuple[int, ...], Any] | None = None

    @classmethod
    def of(cls, linear: nn.Linear, scale: float = 1.0, bias_scale: float = 1.0) -> "Int8Linear":
        """A linear layer rounded to int8, its product and its bias times a number each."""
        values = linear.weight.detach().float() * scale
        of_channel = values.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny * LARGEST) / LARGEST
        weight = (values / of_channel[:, None]).round().to(torch.int8)
        return cls(weight, of_channel, linear.bias.detach().float() * bias_scale)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out), float32."""
        if x.requires_grad and torch.is_grad_enabled():
            raise ConfigurationError("int8 weights have no gradient: load the model without quantize")
        if not x.numel():
            return x.new_zeros((*x.shape[:-1], len(self.weight)))
        return cast(Tensor, torch.ops.quantized.linear_dynamic(x.contiguous(), self.pack(), self.seven_bits))

    def gelu(self, x: Tensor) -> Tensor:
        """The product, then GELU: (…, in) → (…, out)."""
        return F.gelu(self(x))

    def swish(self, x: Tensor) -> Tensor:
        """The product, then x·sigmoid(x): (…, in) → (…, out)."""
        return F.silu(self(x), inplace=True)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product plus the residual: (…, in) and (…, out) → (…, out)."""
        return self(x).add_(residual)

    def pack(self) -> Any:
        """The weight in the engine's layout, laid out once for as long as it stays what it is."""
        now = tuple(y for x in (self.weight, self.scale, self.bias) for y in (x.data_ptr(), _version(x)))
        packed = self._packed
        if packed is None or packed[0] != now:
            packed = self._packed = now, _pack(self.weight, self.scale, self.bias)
        return packed[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # a copy packs its own


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version

"""Linear layers that can be packed for inference on a CPU: oneDNN's layout, and what follows fused into the product.

PyTorch's own product lays the weight out anew in every call, which costs more than the product itself where few rows
are multiplied, as in a step of a beam search. A packed weight is laid out once; bias, activation and the sum with the
residual happen while a result is still in the cache.
"""

from collections import Counter
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.model.arithmetic import multiplies_bfloat16
from picscribe.model.int8_linear import Int8Linear, quick_gelu_int8
from picscribe.model.mapped_pages import MappedPages

QUICK_GELU = 1.702
"""CLIP's QuickGELU is x·sigmoid(1.702x)."""

Activation = Literal["none", "gelu", "swish"]


class PackedWeight:
    """Rows of a linear layer's weight and bias from `start` on, times a scale each, in the layout of oneDNN."""

    def __init__(self, linear: nn.Linear, start: int = 0, scale: float = 1.0, bias_scale: float = 1.0) -> None:
        weight, bias = linear.weight.detach()[start:], linear.bias.detach()[start:]
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight if scale == 1 else weight * scale, None)
        self.bias = bias * bias_scale
        self.scaled = (scale, bias_scale) != (1, 1)
        self._source = _state(linear)

    def follow(self, linear: nn.Linear) -> None:
        """Belong to a layer's parameters as they are now."""
        self._source = _state(linear)

    def is_of(self, linear: nn.Linear) -> bool:
        """Whether the layer's weight and bias are still what was packed."""
        return self._source == _state(linear)

    def __call__(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """(…, in) → (…, out)."""
        algorithm = "none" if activation == "gelu" else ""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, activation, [], algorithm)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """(…, in) and (…, out) → the product and the residual together."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.weight, self.bias, "add")


def _state(linear: nn.Linear) -> tuple[int, ...]:
    """What changes when a layer's values do: the memory they are in, and how often it was written to."""
    weight = id(linear.weight) if linear.weight.is_mkldnn else linear.weight.data_ptr()
    return weight, linear.weight._version, linear.bias.data_ptr(), linear.bias._version


class Linear(nn.Linear):
    """nn.Linear that `pack` makes faster for inference on a CPU; what is saved, copied and moved stays the same.

    What is packed is used only where no gradient is wanted and the parameters have not changed since. Where the weight
    is not mapped from a file, its packed form takes its place, so that it is in memory once.
    """

    packed: PackedWeight | None = None
    packed_tail: PackedWeight | None = None
    scale: float = 1.0
    """What a packed or int8 weight is multiplied by, and below a bias; scaled ones serve `quick_gelu_mlp` alone."""
    bias_scale: float = 1.0
    tail_start: int = 0
    """Rows from here on are laid out once more, for `linear_tail`; 0: none."""

    def can_pack(self) -> bool:
        """Whether oneDNN takes this layer: on a CPU, in a type that this machine computes in."""
        weight = self.weight
        if weight.device.type != "cpu" or weight.is_inference() or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return False
        if weight.dtype == torch.bfloat16:
            return multiplies_bfloat16()
        return weight.dtype == torch.float32

    def pack(self, shared: bool = False) -> None:
        """Lay the weight out for inference, where that is possible. shared: another module has the same weight."""
        self.unpack()
        if not self.can_pack():
            return
        self.packed = PackedWeight(self, 0, self.scale, self.bias_scale)
        self.packed_tail = PackedWeight(self, self.tail_start) if self.tail_start else None
        if not self.weight._version and MappedPages().drop(self.weight):  # never written to since it was read
            return
        if not self.packed.scaled and not shared:
            self.weight = nn.Parameter(self.packed.weight, requires_grad=False)
            self.packed.follow(self)

    def unpack(self) -> None:
        """Go back to the plain weight."""
        if self.weight.is_mkldnn:
            self.weight = nn.Parameter(self.weight.detach().to_dense())
        self.packed = self.packed_tail = None

    def train(self, mode: bool = True) -> "Linear":
        """As of any module; what is trained is the plain weight."""
        if mode:
            self.unpack()
        return super().train(mode)

    def is_packed(self, scaled: bool = False) -> bool:
        """Whether the packed weight can be used now."""
        packed = self.packed
        return packed is not None and packed.scaled == scaled and not torch.is_grad_enabled() and packed.is_of(self)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        return self.packed(x) if self.packed is not None and self.is_packed() else self.plain(x)

    def plain(self, x: Tensor, start: int = 0) -> Tensor:
        """The outputs from `start` on by PyTorch's own product: (…, in) → (…, out - start)."""
        weight = self.weight.to_dense() if self.weight.is_mkldnn else self.weight
        return F.linear(x, weight[start:], self.bias[start:])

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.weight.is_mkldnn:
            destination[prefix + "weight"] = self.weight.detach().to_dense()

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self.unpack()
        super()._load_from_state_dict(*arguments)

    def _apply(self, *arguments: Any, **options: Any) -> "Linear":
        self.unpack()
        return super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        # A copy packs its own: oneDNN's layout can be neither copied nor pickled.
        state = {**self.__dict__, "packed": None, "packed_tail": None}
        state.pop("pickled", None)
        if self.weight.is_mkldnn:
            # Kept here: a process that is being started by `spawn` shares this memory.
            dense = self.__dict__["pickled"] = nn.Parameter(self.weight.detach().to_dense())
            state["_parameters"] = {**self._parameters, "weight": dense}
        return state


def quick_gelu_layers(width: int, hidden: int) -> tuple[Linear, Linear]:
    """The two layers of an MLP around QuickGELU, for `quick_gelu_mlp`.

    oneDNN and PyTorch have swish, x·sigmoid(x), which computes QuickGELU where packed and int8 weights are scaled:
    swish(ax) / a.
    """
    up, down = Linear(width, hidden), Linear(hidden, width)
    up.scale = up.bias_scale = QUICK_GELU
    down.scale = 1 / QUICK_GELU
    return up, down


def pack_layers(network: nn.Module) -> None:
    """Lay out a network's linear layers for inference, float or int8."""
    holders = Counter(id(weight) for module in network.modules() for weight in module.parameters(recurse=False))
    for layer in network.modules():
        if isinstance(layer, Linear):
            layer.pack(shared=holders[id(layer.weight)] > 1)
        elif isinstance(layer, Int8Linear):
            layer.pack()


def quantize_layers(network: nn.Module) -> None:
    """Replace a network's linear layers by their int8 form, one by one."""
    for parent in network.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, Linear):
                int8 = Int8Linear.of(layer, layer.scale, layer.bias_scale)
                int8.tail_start = layer.tail_start
                setattr(parent, name, int8)


def linear_tail(linear: nn.Module, x: Tensor, start: int) -> Tensor:
    """A linear layer's outputs from `start` on alone: (…, in) → (…, out - start)."""
    if isinstance(linear, Linear):
        if linear.packed_tail is not None and linear.is_packed():
            return linear.packed_tail(x)
        return linear.plain(x, start)
    if isinstance(linear, Int8Linear):
        return linear.tail(x, start)
    return cast(Tensor, linear(x)[..., start:])


def linear_gelu(linear: nn.Module, x: Tensor) -> Tensor:
    """A linear layer, then GELU: (…, in) → (…, out)."""
    if isinstance(linear, Linear) and linear.packed is not None and linear.is_packed():
        return linear.packed(x, "gelu")
    return F.gelu(linear(x))


def linear_plus(linear: nn.Module, x: Tensor, residual: Tensor) -> Tensor:
    """A linear layer, plus the residual: (…, in) and (…, out) → (…, out)."""
    if isinstance(linear, Linear) and linear.packed is not None and linear.is_packed():
        return linear.packed.plus(x, residual)
    if isinstance(linear, Int8Linear):
        return linear(x).add_(residual)
    return residual + cast(Tensor, linear(x))


def quick_gelu_mlp(up: nn.Module, down: nn.Module, x: Tensor, residual: Tensor) -> Tensor:
    """`up`, QuickGELU, `down`, plus the residual: (…, D) and (…, D) → (…, D)."""
    if isinstance(up, Linear) and isinstance(down, Linear) and up.is_packed(True) and down.is_packed(True):
        assert up.packed is not None and down.packed is not None
        return down.packed.plus(up.packed(x, "swish"), residual)
    if isinstance(up, Int8Linear) and isinstance(down, Int8Linear):
        return quick_gelu_int8(up, down, x, residual)
    hidden = up(x)
    return linear_plus(down, hidden * torch.sigmoid(QUICK_GELU * hidden), residual)

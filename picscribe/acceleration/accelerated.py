"""A network and its fast form: which of the two computes, and which holds the weights.

| after | `running`, which computes | who holds the weights |
|---|---|---|
| `Accelerated(network)` | the network | the network |
| `accelerate()` | the fast form | its packed layers; the network only those that are not packed, or come from a file |
| `network()`, to read it | the fast form | both |
| `hand_out()`, to do anything with it | the network | the network; the fast form is gone |
"""

import copy
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from picscribe.acceleration.fused import FusedEfficientNetLite, PackedLinear, can_pack, fuse
from picscribe.acceleration.int8 import Int8Linear, is_int8
from picscribe.acceleration.int8_convolutions import Int8EfficientNetLite, can_convolve_int8
from picscribe.acceleration.mapped_pages import MappedPages
from picscribe.model import Git
from picscribe.model.efficientnet_lite import Convolution, EfficientNetLite

MOST_LEARNED = 31 * 2**20
"""Bytes of a block that glibc learns from: below 32 MiB with its own record."""


class Accelerated:
    """Computes with a network's fast form until the network itself is handed out.

    Code that has a network may change it without notice: its `.data`, its modules, hooks. So once it
    has been handed out it also computes, and the fast form goes; nothing is ever answered with old weights.

    Weights are in memory once. Those that are mapped from a file go back to it after they are packed. Others live in
    the packed layers alone until the network is wanted; only the layers around QuickGELU, whose packed weights are
    scaled, a weight that an embedding shares, and the filters of EfficientNet-Lite stay twice.
    """

    def __init__(self, network: Git) -> None:
        self._network = network
        self.running = network
        """What computes, in evaluation mode; not to be changed."""
        self._packed_alone: dict[str, PackedLinear] = {}
        """Weights that the network lacks, by the names of its layers."""
        self._lock = threading.Lock()

    def network(self) -> Git:
        """The network with all its weights; not to be changed."""
        with self._lock:
            self._restore()
        return self._network

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """The network's weights by name, sorted; those that only packed layers hold are made dense one by one."""
        for name, tensor in sorted(self._network.state_dict().items()):
            packed = self._packed_alone.get(name.removesuffix(".weight"))
            yield name, tensor if packed is None else packed.dense()

    def hand_out(self) -> Git:
        """The network, to do anything with; from now on it computes."""
        self.running = self.network()
        return self.running

    def accelerate(self) -> "Accelerated":
        """Make the fast form of a network that nobody else holds, and return this; where there is none do nothing."""
        kinds = nn.Linear, Convolution
        layers = [module for module in self._network.modules() if isinstance(module, kinds)]
        if layers and all(can_pack(layer) for layer in layers):
            self._pack()
            _keep_freed_memory()  # afterwards, so that what packing took is given back
        for module in self.running.modules():
            if isinstance(module, Int8Linear):
                module.pack()
        return self

    def _pack(self) -> None:
        holders = Counter(id(p) for module in self._network.modules() for p in module.parameters(recurse=False))
        encoder, instead = self._network.image_encoder, {}
        if isinstance(encoder, EfficientNetLite):
            is_rounded = is_int8(self._network) and can_convolve_int8()
            instead[id(encoder)] = Int8EfficientNetLite(encoder) if is_rounded else FusedEfficientNetLite(encoder)
        fast, pages = _with_shared_weights(self._network, instead), MappedPages()
        names = {id(module): name for name, module in fast.named_modules()}

        def lay_out(linear: nn.Linear, scale: float, bias_scale: float) -> PackedLinear:
            packed, weight = PackedLinear(linear, scale, bias_scale), linear.weight
            is_mapped = not weight._version and pages.drop(weight)  # and never written to since it was read
            if not is_mapped and scale == 1 and holders[id(weight)] == 1:
                name = names[id(linear)]
                nothing = nn.Parameter(torch.empty_like(weight, device="meta"), weight.requires_grad)
                linear.weight = self._linear(name).weight = nothing
                self._packed_alone[name] = packed
            return packed

        fuse(fast, lay_out)
        self.running = fast

    def _linear(self, name: str) -> nn.Linear:
        return cast("nn.Linear", self._network.get_submodule(name))

    def _restore(self) -> None:
        with torch.inference_mode(False), torch.no_grad():
            for name, packed in self._packed_alone.items():
                linear = self._linear(name)
                linear.weight = nn.Parameter(packed.dense(), linear.weight.requires_grad)
        self._packed_alone = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network(), "is_fast": self.running is not self._network}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["network"])  # type: ignore[misc]
        if state["is_fast"]:
            self.accelerate()


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next layer instead of giving it back to the system, which clears it again.

    glibc learns from each large block that is freed: it keeps up to twice as much from then on. Without this it learns
    from the layers themselves, which for one photo is less than two of them need. Other libraries do not mind.
    """
    torch.empty(MOST_LEARNED, dtype=torch.uint8)


def _with_shared_weights(network: Git, instead: Mapping[int, nn.Module]) -> Git:
    """A copy of the network's modules over the same parameters; `instead` has modules in the place of others, by id."""
    shared = {id(tensor): tensor for tensor in [*network.parameters(), *network.buffers()]}
    return copy.deepcopy(network, {**shared, **instead})

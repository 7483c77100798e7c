"""Weights shared out over processes (FSDP), and the same questions asked of weights that are not.

All of a module is one group: gathered when a step computes with it, given back after its gradients are shared out.
accelerate offers this on GPUs alone, so torch's own `fully_shard` is called, on the processes that accelerate set up.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(module: nn.Module, device: torch.device, processes: int) -> None:
    """Leave each process its share of the module's weights; collective, as is everything here."""
    fully_shard(module.to(device), mesh=init_device_mesh(device.type, (processes,)))


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Within, any method of the module may be called, for all weights are there."""
    if not isinstance(module, FSDPModule):
        yield
        return
    module.unshard()
    try:
        yield
    finally:
        module.reshard()


def weights_of(module: nn.Module) -> dict[str, Any]:
    """All weights by name; of sharded ones the first process has them, the others nothing."""
    return get_model_state_dict(module, options=WHOLE) if isinstance(module, FSDPModule) else module.state_dict()


def load_weights(module: nn.Module, weights: dict[str, Any]) -> None:
    """Put back what `weights_of` gave, on every process."""
    if isinstance(module, FSDPModule):
        set_model_state_dict(module, weights, options=WHOLE)
    else:
        module.load_state_dict(weights)


def averages_of(module: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state; of sharded weights the first process has it."""
    if isinstance(module, FSDPModule):
        return get_optimizer_state_dict(module, optimiser, options=WHOLE)
    return optimiser.state_dict()


def load_averages(module: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put back what `averages_of` gave, on every process."""
    if isinstance(module, FSDPModule):
        set_optimizer_state_dict(module, optimiser, state, options=WHOLE)
    else:
        optimiser.load_state_dict(state)


def whole_number(value: Tensor) -> Tensor:
    """A norm of shared gradients as a plain tensor."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value

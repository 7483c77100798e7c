"""Weights sharded over processes (FSDP), and functions that serve weights whether sharded or not.

A module is one group: gathered when a step computes with it, released after its gradients are reduced.
accelerate offers this on GPUs alone, so torch's own `fully_shard` is called, on the processes that accelerate set up.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from picscribe.errors import ConfigurationError


def shard(module: nn.Module, device: torch.device, processes: int) -> None:
    """Leave each process its share of the module's weights; collective, as is everything here.

    Raises ConfigurationError for a torch without `fully_shard`.
    """
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise ConfigurationError(
            f"weights.sharded needs torch 2.6 or later, not {torch.__version__}: upgrade torch, or leave it out"
        ) from error
    fully_shard(module.to(device), mesh=init_device_mesh(device.type, (processes,)))


def is_sharded(module: nn.Module) -> bool:
    """Whether the module's weights are sharded."""
    return hasattr(module, "unshard")


@contextmanager
def gather(module: nn.Module) -> Iterator[None]:
    """Within, all weights are there, and any method of the module may be called."""
    if not is_sharded(module):
        yield
        return
    sharded: Any = module
    sharded.unshard()
    try:
        yield
    finally:
        sharded.reshard()


def read_weights(module: nn.Module) -> dict[str, Any]:
    """All weights by name; of sharded ones the first process has them, the others nothing."""
    if not is_sharded(module):
        return module.state_dict()
    dicts, whole = _state_dicts()
    found: dict[str, Any] = dicts.get_model_state_dict(module, options=whole)
    return found


def load_weights(module: nn.Module, weights: dict[str, Any]) -> None:
    """Put back what `read_weights` gave, on every process."""
    if not is_sharded(module):
        module.load_state_dict(weights)
        return
    dicts, whole = _state_dicts()
    dicts.set_model_state_dict(module, weights, options=whole)


def read_optimiser(module: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state; of sharded weights the first process has it."""
    if not is_sharded(module):
        return optimiser.state_dict()
    dicts, whole = _state_dicts()
    found: dict[str, Any] = dicts.get_optimizer_state_dict(module, optimiser, options=whole)
    return found


def load_optimiser(module: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put back what `read_optimiser` gave, on every process."""
    if not is_sharded(module):
        optimiser.load_state_dict(state)
        return
    dicts, whole = _state_dicts()
    dicts.set_optimizer_state_dict(module, optimiser, state, options=whole)


def _state_dicts() -> tuple[Any, Any]:
    """torch's functions for states of sharded modules, which take a while to import, and "as a whole, on the CPU"."""
    from torch.distributed.checkpoint import state_dict

    return state_dict, state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)


def gather_norm(value: Tensor) -> Tensor:
    """A norm of shared gradients as a plain tensor."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value

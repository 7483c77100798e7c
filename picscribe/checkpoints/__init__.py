"""Names → weights: read, check, write and convert checkpoints.

Names are imported on first use: the registry and the cache can be looked at without importing PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from picscribe.checkpoints.checkpoint import Checkpoint
    from picscribe.checkpoints.description import Description, describe
    from picscribe.checkpoints.hugging_face import save
    from picscribe.checkpoints.int8_weights import save_int8
    from picscribe.checkpoints.loading import load
    from picscribe.checkpoints.original import save_original
    from picscribe.checkpoints.registry import RELEASED

_HOMES = {
    "RELEASED": "registry",
    "Checkpoint": "checkpoint",
    "Description": "description",
    "describe": "description",
    "load": "loading",
    "save": "hugging_face",
    "save_int8": "int8_weights",
    "save_original": "original",
}

__all__ = ["RELEASED", "Checkpoint", "Description", "describe", "load", "save", "save_int8", "save_original"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

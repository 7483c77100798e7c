"""Where photos and videos with captions, questions or labels come from: one reader a format, one registry.

Names are imported on first use: a list of questions can be read without importing NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from picscribe.datasets.dataset import Dataset, missing_files
    from picscribe.datasets.examples import Example, FileSlice, Oddity
    from picscribe.datasets.formats.registry import FORMATS, load_examples, read_dataset

_HOMES = {
    "FORMATS": "formats.registry",
    "Dataset": "dataset",
    "Example": "examples",
    "FileSlice": "examples",
    "Oddity": "examples",
    "load_examples": "formats.registry",
    "missing_files": "dataset",
    "read_dataset": "formats.registry",
}

__all__ = ["FORMATS", "Dataset", "Example", "FileSlice", "Oddity", "load_examples", "missing_files", "read_dataset"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

"""What a run computes on: accelerate's processes and device, the processor's precision, memory that is kept."""

import ctypes
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.errors import ConfigurationError, MissingPackageError
from picscribe.training.recipe import Recipe

NO_BFLOAT16 = "this processor has no bfloat16 arithmetic: the run computes in float32 instead"
PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}  # accelerate's names
LONGEST_WAIT = timedelta(hours=12)
"""Of processes for each other: one validates, and the others wait, for longer than torch's ten minutes on GPUs."""
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # numbers that glibc's mallopt knows these settings by


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory, for the rest of this process; False where it is not glibc.

    By default it returns every large block to the system as soon as it is freed, and the system clears its pages again
    for the next step: a quarter of a training step of nano on two cores (`python -m benchmarks.allocator`).
    """
    try:
        change = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(change(MMAP_MAX, 0)) and bool(change(TRIM_THRESHOLD, 2**31 - 1))


def choose_precision(asked: str) -> str:
    """The recipe's precision, but float32 for bfloat16 on a CPU that cannot multiply it, where it would take weeks."""
    if asked == "bfloat16" and not torch.cuda.is_available() and not multiplies_bfloat16():
        return "float32"
    return asked


def make_accelerator(recipe: Recipe, output: Path) -> Any:
    """accelerate's view of the processes and the device. Raises MissingPackageError where it is not installed."""
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from accelerate.utils import InitProcessGroupKwargs
    except ImportError as error:
        raise MissingPackageError('training needs the package accelerate: pip install "picscribe[train]"') from error
    if recipe.optimisation.precision == "float16" and not torch.cuda.is_available():
        raise ConfigurationError("optimisation.precision float16 needs a GPU: use bfloat16 or float32")
    # A second run in one process may compute in another type; accelerate would keep to the first one's.
    AcceleratorState._reset_state(reset_partial_state=False)
    waiting = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    accelerator = Accelerator(
        kwargs_handlers=[waiting],
        mixed_precision=PRECISIONS[choose_precision(recipe.optimisation.precision)],
        cpu=not torch.cuda.is_available(),
        project_dir=str(output),
        log_with=list(recipe.trackers) or None,
    )
    if missing := set(recipe.trackers) - {str(getattr(tracker, "value", tracker)) for tracker in accelerator.log_with}:
        name = sorted(missing)[0]
        raise MissingPackageError(f"trackers: {name} is not installed: pip install {name}, or leave it out")
    return accelerator


def sum_over_processes(accelerator: Any, value: float) -> float:
    """The sum of every process's value."""
    if accelerator.num_processes == 1:
        return value
    return float(accelerator.reduce(torch.tensor(float(value), device=accelerator.device), "sum"))

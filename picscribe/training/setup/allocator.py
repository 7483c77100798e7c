"""Memory that a step gives back is kept for the next one.

The C library returns every large block to the system as soon as it is freed, and the system clears its pages anew for
the next step: a quarter of a training step of nano on two cores (`python -m benchmarks.allocator`).
"""

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # numbers that glibc's mallopt knows these settings by


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed, for the rest of this process; False where it is not glibc."""
    try:
        change = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(change(MMAP_MAX, 0)) and bool(change(TRIM_THRESHOLD, 2**31 - 1))

"""Memory that is backed by a file and no longer needed goes back to the system at once, not when it runs short."""

import ctypes
import mmap
import sys

from torch import Tensor

MADV_PAGEOUT = 21  # Linux 5.4; Python's mmap module has no name for it


def give_back_pages(tensor: Tensor) -> None:
    """Let the system take back the memory of a tensor that is mapped from a file; it is read again when it is used.

    Safe for any tensor: what is not on the disk yet stays, or is swapped out. Does nothing but on Linux.
    """
    if sys.platform != "linux":
        return
    first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_PAGEOUT)

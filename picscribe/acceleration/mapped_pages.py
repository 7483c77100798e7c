"""Pages of memory mapped from a file leave once they have been read, so that reading a file does not fill memory."""

import bisect
import ctypes
import mmap
import sys
from pathlib import Path

from torch import Tensor

from picscribe.text_files import split_lines

MAPPINGS = Path("/proc/self/maps")


class MappedPages:
    """The memory of this process that was mapped from files when this was made; elsewhere than on Linux, none."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        if sys.platform == "linux" and MAPPINGS.exists():
            for line in split_lines(MAPPINGS.read_text(errors="replace")):
                addresses, _, _, _, inode = line.split()[:5]
                if inode != "0":
                    first, last = (int(address, 16) for address in addresses.split("-"))
                    self._ranges.append((first, last))

    def drop(self, tensor: Tensor) -> bool:
        """Let the pages of `tensor` go, where it is mapped from a file; they are read again when it is used.

        The tensor must not have been written to: the file's values come back. Returns whether it is mapped.
        """
        first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        place = bisect.bisect_right(self._ranges, (first, sys.maxsize)) - 1
        mapped = place >= 0 and first < last <= self._ranges[place][1]
        if mapped:
            ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)
        return mapped

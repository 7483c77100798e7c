"""Which photos or videos are the same file again under another name."""

import filecmp
import stat
from collections.abc import Iterable
from pathlib import Path

from picscribe.datasets.examples import Example

TAIL = 4096
"""Bytes at a file's end that tell most photos of one size apart, so that few are read whole."""


def copies_of(known: Iterable[Example], others: Iterable[Example]) -> set[Path]:
    """The files of `others` that hold, byte for byte, what a file of `known` holds; what lies within larger
    files, and files that cannot be read, are no copies of any."""
    alike: dict[tuple[int, bytes], list[Path]] = {}
    for example in known:
        if isinstance(example.source, Path) and (look := _look(example.source, None)):
            alike.setdefault(look, []).append(example.source)
    sizes = {size for size, _ in alike}
    return {
        example.source
        for example in others
        if isinstance(example.source, Path)
        and (look := _look(example.source, sizes))
        and any(_same(example.source, file) for file in alike.get(look, ()))
    }


def _look(file: Path, sizes: set[int] | None) -> tuple[int, bytes] | None:
    """Size and end of a file; None where it is of none of the `sizes`, or cannot be read."""
    try:
        status = file.stat()
        size = status.st_size
        # A pipe would never end.
        if not stat.S_ISREG(status.st_mode) or (sizes is not None and size not in sizes):
            return None
        with file.open("rb") as stream:
            stream.seek(max(0, size - TAIL))
            return size, stream.read(TAIL)
    except OSError:
        return None


def _same(file: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(file, other, shallow=False)
    except OSError:
        return False

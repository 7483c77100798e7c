"""Finds the rows of a TSV of images, by its index of line offsets or without one, and never holds an image."""

from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from picscribe.datasets.examples import FileSlice
from picscribe.errors import InputError
from picscribe.text_files import require_own_content

BLOCK = 1 << 20
LONGEST_KEY = 1024
"""Bytes before the tab."""


def read_images(path: Path) -> Iterator[tuple[str, FileSlice | InputError]]:
    """Each row that is not blank: where it is, and its image, named by the row's key, or what is wrong with the row.

    The index is read where it is there, test.img.lineidx.8b (8-byte little-endian offsets) or test.img.lineidx (offsets
    as text, one per line) next to test.img.tsv, and checked against the file; else the file is read through in blocks.
    Raises InputError where the file cannot be read or the index is another file's.
    """
    require_own_content(path)
    try:
        with path.open("rb", buffering=0) as stream:
            size = stream.seek(0, 2)
            starts = _index(path, stream, size) or _scan(path)
            starts.append(size)
            for number, (start, end) in enumerate(pairwise(starts), 1):
                row = _row(path, stream, start, end)
                if row is not None:
                    yield f"{path}: line {number}", row
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _row(path: Path, stream: BinaryIO, start: int, end: int) -> FileSlice | InputError | None:
    """The image of a row, what is wrong with it, or None for a blank line."""
    head = _bytes_at(stream, start, min(LONGEST_KEY + 1, end - start))
    end -= _line_end(_bytes_at(stream, max(start, end - 2), min(2, end - start)))
    if start == end:
        return None
    key, tab, _ = head.partition(b"\t")
    if not tab:
        return InputError(f"has no tab within {LONGEST_KEY} bytes: expected a key, a tab and an image as base64")
    try:
        name = key.removeprefix(b"\xef\xbb\xbf" if start == 0 else b"").decode().strip()
    except UnicodeDecodeError:
        return InputError(f"the key {key[:40]!r} is not UTF-8 text: save the file as UTF-8")
    first = start + len(key) + 1
    if not name:
        return InputError("the key is empty: write the name of the image before the tab")
    if first >= end:
        return InputError(f"the key {name!r} has no image after the tab: add it, or remove the line")
    return FileSlice(path, first, end - first, name, is_base64=True)


def _line_end(tail: bytes) -> int:
    return len(tail) - len(tail.rstrip(b"\r\n"))


def _bytes_at(stream: BinaryIO, start: int, length: int) -> bytes:
    stream.seek(start)
    return stream.read(length)


def _scan(path: Path) -> "array[int]":
    """Where each line starts, by reading the whole file a block at a time."""
    starts = array("q", [0])
    done = 0
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(BLOCK):
            at = block.find(b"\n")
            while at >= 0:
                starts.append(done + at + 1)
                at = block.find(b"\n", at + 1)
            done += len(block)
    if starts[-1] == done:
        starts.pop()
    return starts


def _index(path: Path, stream: BinaryIO, size: int) -> "array[int] | None":
    """The offsets from a file next to the TSV, None if there is none; each must be the start of a line."""
    for suffix in (".lineidx.8b", ".lineidx"):
        file = path.with_suffix(suffix)
        if file.is_file():
            break
    else:
        return None
    starts = _binary_offsets(file) if suffix.endswith("8b") else _text_offsets(file)
    remedy = f"it belongs to another file: make it again, or delete it and {path.name} is read through"
    if not starts or starts[0] != 0:
        raise InputError(f"{file}: its first offset is {starts[0] if starts else 'missing'}, not 0; {remedy}")
    for row, (earlier, start) in enumerate(pairwise(starts), 2):
        if not earlier < start < size or _bytes_at(stream, start - 1, 1) != b"\n":
            raise InputError(f"{file}: row {row} is at byte {start}, where no line of {path.name} starts; {remedy}")
    return starts


def _binary_offsets(file: Path) -> "array[int]":
    content = file.read_bytes()
    if len(content) % 8:
        raise InputError(
            f"{file}: has {len(content)} bytes, which is not a multiple of 8: delete it, and it is made again"
        )
    starts = array("q")
    for at in range(0, len(content), 8):
        starts.append(int.from_bytes(content[at : at + 8], "little", signed=True))
    return starts


def _text_offsets(file: Path) -> "array[int]":
    starts = array("q")
    for number, line in enumerate(file.read_bytes().split(), 1):
        if not line.isdigit() or len(line) > 18:
            raise InputError(f"{file}: line {number} is {line[:20]!r}, not an offset: make it again, or delete it")
        starts.append(int(line))
    return starts

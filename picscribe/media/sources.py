"""The bytes of whatever an image or video is given as: a path, bytes, or a stream, which is read once and held.

Imports neither NumPy nor Pillow: who only sends a photo's bytes on needs neither, and starts faster without.
"""

import io
import os
import re
import stat
import sys
import weakref
from typing import Any, BinaryIO

from picscribe.errors import InputError
from picscribe.media.signatures import START, may_hold_frames

MAX_IMAGE_BYTES = 256 * 1024**2
"""Bytes of an image at most, unless told otherwise."""

MAX_VIDEO_BYTES = 1024**3
"""Bytes of a video that is held in memory at most, unless told otherwise; one in a file may have any length."""

BLOCK = 1 << 20


class Content:
    """The content of a stream under its name: any number of readers, in any threads, see it from its beginning."""

    def __init__(self, name: str, data: "bytes | _FilePart") -> None:
        self.name, self._data = name, data

    def open(self) -> BinaryIO:
        """A new stream over the content, at its beginning."""
        if isinstance(self._data, bytes):
            return io.BytesIO(self._data)
        return io.BufferedReader(_FileReader(self._data))


def hold(source: object, most: int | None = None) -> object:
    """A stream's content, as `Content` under its name; any other source as it is.

    The content goes from the stream's position to its end. A stream that can seek is left where it was. A plain file
    is not read: its content stays in it. Anything else is read into memory, up to `most` bytes, by default as many as
    an image or a video may have.
    Raises InputError for a stream that cannot be read, gives no bytes, or goes beyond `most`.
    """
    if isinstance(source, Content) or not hasattr(source, "read"):
        return source
    name = describe(source)
    return Content(name, _part_of_file(source) or _read_stream(source, name, most))


def describe(source: Any) -> str:
    """How an error names `source`; always printable."""
    if isinstance(source, str | os.PathLike):
        text = os.fsdecode(source)
    elif isinstance(source, bytes | bytearray | memoryview):
        text = f"image of {_length(source)} bytes"
    elif _is_one(source, "numpy", "ndarray"):
        text = f"array of shape {source.shape} and type {source.dtype}"
    elif _is_one(source, "PIL.Image", "Image"):
        text = os.fsdecode(getattr(source, "filename", "") or f"Pillow image of mode {source.mode}")
    else:
        name = getattr(source, "name", None)
        text = str(name) if name and not isinstance(name, int) else f"object of type {type(source).__name__}"
    return text.encode("utf-8", "backslashreplace").decode()


def _is_one(source: object, module: str, name: str) -> bool:
    """Whether it is an object of a class whose module may not have been imported: then there is none."""
    found = sys.modules.get(module)
    return found is not None and isinstance(source, getattr(found, name))


def reason_of(error: BaseException) -> str:
    """What a decoder says went wrong, in a line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def read_whole(source: object, max_bytes: int) -> bytes:
    """The whole content of a path, stream, `Content` or bytes-like object.

    Raises InputError that names it where it cannot be read, is empty, or is longer than `max_bytes`.
    """
    name = describe(source)
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source) if _length(source) <= max_bytes else b"\0" * (max_bytes + 1)
    elif isinstance(source, str | os.PathLike):
        content = _read_file(source, name, max_bytes)
    elif isinstance(source, Content) or hasattr(source, "read"):
        held = hold(source, max_bytes)
        assert isinstance(held, Content)
        with held.open() as stream:
            content = stream.read(max_bytes + 1)
    else:
        raise InputError(f"{name} is not an image: give a path, bytes, a stream, a Pillow image or a uint8 array")
    if len(content) > max_bytes:
        raise _too_long(name, max_bytes)
    if not content:
        raise InputError(f"{name} is empty (0 bytes): download or save it again")
    return content


def open_stream(source: object, max_bytes: int) -> BinaryIO:
    """A stream that can seek over a path, stream, `Content` or bytes-like object; errors as of `read_whole`."""
    if isinstance(source, str | os.PathLike):
        return _open_file(source, describe(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(read_whole(source, max_bytes))
    held = hold(source, max_bytes)
    if not isinstance(held, Content):
        raise InputError(f"{describe(source)} is not a video: give a path, bytes, a stream, a folder or a list")
    return held.open()


def head_of(source: object) -> bytes:
    """The first `START` bytes, which tell a file's kind; none where there is no content that can be read."""
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            view = memoryview(source)
            return bytes(view.cast("B")[:START]) if view.contiguous else view.tobytes()[:START]
        if isinstance(source, str | os.PathLike | Content):
            with open_stream(source, START) as stream:
                return stream.read(START)
    except (InputError, TypeError, OSError):
        pass
    return b""


def _length(content: bytes | bytearray | memoryview) -> int:
    return content.nbytes if isinstance(content, memoryview) else len(content)


def _too_long(name: str, most: int) -> InputError:
    return InputError(f"{name} is longer than the limit of {most} bytes: shrink it, or raise the limit")


# -- paths ------------------------------------------------------------------------------------------------------------


def _read_file(path: str | os.PathLike[str], name: str, max_bytes: int) -> bytes:
    with _open_file(path, name) as file:
        try:
            return file.read(max_bytes + 1)
        except OSError as error:
            raise InputError(f"{name} cannot be read ({reason_of(error)}): check the disk") from error


def _open_file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """A plain file. Raises InputError for whatever else a path may name."""

    def open_without_waiting(path: str, flags: int) -> int:  # a named pipe would wait until somebody writes
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        if os.path.isdir(path):
            raise InputError(f"{name} is a folder: name the files in it")
        file = open(path, "rb", opener=open_without_waiting)  # noqa: SIM115
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise InputError(f"{name} is a pipe, device or socket: save it to a file, or give its bytes")
        return file
    except FileNotFoundError as error:
        remedy = "download it first" if re.match(r"https?://", name) else "check the name"
        raise InputError(f"{name} does not exist: {remedy}") from error
    except PermissionError as error:
        raise InputError(f"{name} may not be read by this user: change its permissions") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read ({reason_of(error)}): check the name and the disk") from error


# -- streams ----------------------------------------------------------------------------------------------------------


def _read_stream(stream: object, name: str, most: int | None) -> bytes:
    """What a stream holds, in memory; it is read on where it gives a part at a time, as a pipe does."""
    place = _position(stream)
    blocks, length = list[bytes](), 0
    while True:
        limit = most if most is not None else _limit(blocks[0] if blocks else b"")
        try:
            block = stream.read(min(BLOCK, limit + 1 - length) if blocks else START)  # type: ignore[attr-defined]
        except Exception as error:  # a stream may be anything, a network connection too
            raise InputError(f"{name} cannot be read ({reason_of(error)}): open it again") from error
        if not isinstance(block, bytes):
            raise InputError(f"{name} gives {type(block).__name__}, not bytes: open it in binary mode")
        if not block:
            break
        blocks.append(block)
        length += len(block)
        if length > limit:
            raise _too_long(name, limit)
    if place is not None:
        stream.seek(place)  # type: ignore[attr-defined]
    if not length:
        problem = "is at its end: go back with seek(0)" if place else "is empty (0 bytes): download or save it again"
        raise InputError(f"{name} {problem}")
    return b"".join(blocks)


def _limit(head: bytes) -> int:
    return MAX_VIDEO_BYTES if may_hold_frames(head) else MAX_IMAGE_BYTES


def _position(stream: object) -> int | None:
    """Where a stream stands; None for one that cannot seek."""
    try:
        return int(stream.tell()) if stream.seekable() else None  # type: ignore[attr-defined]
    except Exception:  # a stream may be anything
        return None


class _FilePart:
    """A plain file from a position on, through a descriptor of its own, which is closed when nobody reads it."""

    def __init__(self, descriptor: int, start: int) -> None:
        self.descriptor, self.start = os.dup(descriptor), start
        weakref.finalize(self, os.close, self.descriptor)


def _part_of_file(stream: object) -> _FilePart | None:
    """A plain file behind a stream; None for any other stream, such as one that unpacks what it reads."""
    if not hasattr(os, "pread") or not isinstance(stream, io.FileIO | io.BufferedReader | io.BufferedRandom):
        return None
    try:
        if isinstance(stream, io.BufferedRandom):
            stream.flush()
        elif isinstance(stream, io.BufferedReader) and not isinstance(stream.raw, io.FileIO):
            return None
        place, status = stream.tell(), os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or place >= status.st_size:
            return None
        return _FilePart(stream.fileno(), place)
    except (OSError, ValueError):
        return None


class _FileReader(io.RawIOBase):
    """Reads a part of a file at positions of its own, so that many may read the same file."""

    def __init__(self, part: _FilePart) -> None:
        self._part, self._place = part, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        block = os.pread(self._part.descriptor, len(buffer), self._part.start + self._place)
        buffer[: len(block)] = block
        self._place += len(block)
        return len(block)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._place
        elif whence == os.SEEK_END:
            offset += os.fstat(self._part.descriptor).st_size - self._part.start
        if offset < 0:
            raise ValueError("cannot seek before the beginning")
        self._place = offset
        return offset

    def tell(self) -> int:
        return self._place

"""Reads UTF-8 text and JSON: the one reader of the package, which says what a file is where it is something else."""

import json
from pathlib import Path
from typing import Any

from picscribe.errors import InputError, PicscribeError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_POINTER = 1024
"""Bytes; Git LFS itself takes no longer file for a pointer."""

_OTHERS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"\x1f\x8b", "is packed with gzip: unpack it"),
    (b"PK\x03\x04", "is a zip archive: unpack it"),
    (b"<!doctype html", "is a web page, not the file itself: download the file that the page links to"),
    (b"<html", "is a web page, not the file itself: download the file that the page links to"),
)


def what_instead(start: bytes) -> str | None:
    """What content that begins with `start` is where it is neither text nor data that we read; None otherwise."""
    text = start.removeprefix(BYTE_ORDER_MARK).lstrip().lower()
    return next((problem for mark, problem in _OTHERS if text.startswith(mark) or start.startswith(mark)), None)


def find_other_content(path: Path) -> str | None:
    """`what_instead` of a file's first bytes; None for a file that cannot be read."""
    try:
        with path.open("rb") as stream:
            return what_instead(stream.read(LONGEST_POINTER))
    except OSError:
        return None


def require_own_content(path: Path, error: type[PicscribeError] = InputError) -> None:
    """Raise `error` where the file is a Git LFS pointer, an archive or a web page in place of what its name says."""
    if problem := find_other_content(path):
        raise error(f"{path}: {problem}")


def split_lines(text: str) -> list[str]:
    """The lines of a text, split at line feeds alone, without a carriage return before one.

    `str.splitlines` splits at eight further characters, such as U+2028, which occur in captions.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if not lines[-1] else lines


def decode_text(content: bytes, name: object, error: type[PicscribeError] = InputError) -> str:
    """UTF-8 text without its byte order mark. Raises `error` that names it where it is something else."""
    if problem := what_instead(content[:LONGEST_POINTER]):
        raise error(f"{name}: {problem}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise error(f"{name}: is UTF-16 text: save it as UTF-8") from None
        line = f"line {content.count(10, 0, wrong.start) + 1} " if b"\n" in content.strip() else ""
        raise error(f"{name}: {line}is not UTF-8 text (byte {wrong.start}): save it as UTF-8") from None


def read_text(path: Path, most: int | None = None, error: type[PicscribeError] = InputError) -> str:
    """A UTF-8 file of at most `most` bytes, without byte order mark. Raises `error` that names it."""
    try:
        with path.open("rb") as stream:
            content = stream.read() if most is None else stream.read(most + 1)
    except (OSError, ValueError) as wrong:  # the latter for a name that no file can have
        raise error(f"{path}: cannot be read ({getattr(wrong, 'strerror', None) or wrong})") from wrong
    if most is not None and len(content) > most:
        raise error(f"{path}: has over {most:,} bytes, too many for this kind of file: name another")
    return decode_text(content, path, error)


def parse_json(content: str | bytes, name: object, error: type[PicscribeError] = InputError) -> Any:
    """The value that JSON text holds; a byte order mark does no harm. Raises `error` that names the text."""
    text = decode_text(content, name, error) if isinstance(content, bytes) else content.removeprefix("\ufeff")
    try:
        return json.loads(text)
    except RecursionError:
        raise error(f"{name}: is not valid JSON that can be read: it is nested too deeply") from None
    except ValueError as wrong:
        raise error(f"{name}: is not valid JSON ({wrong})") from None


def read_json(path: Path, most: int | None = None, error: type[PicscribeError] = InputError) -> Any:
    """The document of a JSON file of at most `most` bytes.

    Raises `error` that names the file, and line and column where it has them, where it cannot be read, is empty, is
    something else, is not UTF-8 or is not JSON.
    """
    text = read_text(path, most, error)
    if not text.strip():
        raise error(f"{path}: is empty: download or write it again")
    return parse_json(text, path, error)


def read_json_object(path: Path, most: int | None = None, error: type[PicscribeError] = InputError) -> dict[str, Any]:
    """The document, which must be a JSON object. Errors as `read_json`."""
    document = read_json(path, most, error)
    if not isinstance(document, dict):
        kinds = {list: "a list", str: "a text", int: "a number", float: "a number", type(None): "null"}
        raise error(f"{path}: must contain a JSON object, found {kinds.get(type(document), 'true or false')}")
    return document

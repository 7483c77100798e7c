"""The bytes of an entry, wherever they lie: in a tar, in a table, behind an address."""

import errno
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

from picscribe.bulk.entries import Entry, digest_of, is_address, printable
from picscribe.bulk.failures import EntryError
from picscribe.errors import InputError, MissingPackageError

TRIES = 4
FIRST_WAIT = 0.5
"""Seconds before an address is tried for the second time; each further wait is twice as long."""

SECONDS = 30
"""An address that gives nothing for so long is a failure of the network."""

GONE = {401: "forbidden", 403: "forbidden", 404: "missing", 410: "missing", 451: "forbidden"}
"""Answers of a server that are not tried again."""

Got = TypeVar("Got")


def content_of(entry: Entry, most: int, wait: Callable[[float], object] = time.sleep) -> bytes:
    """The bytes of an entry's photo or video, at most `most`. Raises EntryError."""
    where = printable(entry.path)
    if "offset" in entry.part:
        offset, size = int(entry.part["offset"]), int(entry.part["size"])
        if size > most:
            raise EntryError("too-large", f"{where} is {size} bytes long, over the limit of {most}")
        content = part_of(entry.source, offset, size, where, wait)
    elif "row" in entry.part:
        content = _cell(entry, where)
    elif entry.remote:
        content = _patiently(lambda: _get(entry.source, most), where, wait)
    else:
        content = read_file(entry.source, where, most)
    if len(content) > most:
        raise EntryError("too-large", f"{where} is over the limit of {most} bytes")
    return content


def same_content_of(entry: Entry, digests: Collection[bytes], most: int) -> bytes:
    """The bytes of an entry that was captioned before. Raises EntryError where they are no longer the same."""
    content = content_of(entry, most)
    if digest_of(content) not in digests:
        raise EntryError("changed", f"{printable(entry.path)} has changed since it was captioned: use --new for it")
    return content


def read_file(source: str, where: str, most: int) -> bytes:
    """A file's bytes, one beyond `most` at most. Raises EntryError."""

    def without_waiting(path: str, flags: int) -> int:  # a named pipe would wait until somebody writes
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        with open(source, "rb", opener=without_waiting) as stream:
            return stream.read(most + 1)
    except OSError as error:
        raise EntryError(kind_of(error), f"{where} cannot be read ({error.strerror or error})") from error


def part_of(source: str, offset: int, size: int, where: str, wait: Callable[[float], object] = time.sleep) -> bytes:
    """A stretch of a file or address. Raises EntryError where it ends before."""
    if is_address(source):
        system, path = file_system(source)
        content = _patiently(lambda: system.cat_file(path, start=offset, end=offset + size), where, wait)
    else:
        try:
            with open(source, "rb") as stream:
                stream.seek(offset)
                content = stream.read(size)
        except OSError as error:
            raise EntryError(kind_of(error), f"{where} cannot be read ({error.strerror or error})") from error
    if len(content) != size:
        raise EntryError("unreadable", f"{where} is cut short: download it again")
    return content


def file_system(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path in it. Raises MissingPackageError or InputError."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingPackageError(f'{address}: addresses need fsspec: pip install "picscribe[bulk]"') from error
    try:
        system, path = fsspec.url_to_fs(address)
    except (ImportError, ValueError) as error:  # no such protocol, or the package for it is missing
        raise InputError(f"{printable(address)} cannot be used: {error}") from error
    return system, path


def kind_of(error: OSError) -> Any:
    """The failure class of what the system said."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR) or isinstance(error, FileNotFoundError):
        return "missing"
    if error.errno in (errno.EACCES, errno.EPERM) or isinstance(error, PermissionError):
        return "forbidden"
    return "unreadable"


def _cell(entry: Entry, where: str) -> bytes:
    from picscribe.datasets.formats.parquet import TableCell

    part = entry.part
    try:
        return TableCell(Path(entry.source), int(part["group"]), int(part["row"]), str(part["column"])).read()
    except InputError as error:
        raise EntryError("unreadable", f"{where} cannot be read ({error})") from error


def _get(address: str, most: int) -> bytes:
    if address.lower().startswith(("http://", "https://")):
        request = urllib.request.Request(address, headers={"User-Agent": "picscribe"})
        with urllib.request.urlopen(request, timeout=SECONDS) as stream:
            content: bytes = stream.read(most + 1)
            expected = stream.headers.get("Content-Length")
            if expected and expected.isdecimal() and len(content) < min(int(expected), most + 1):
                raise ConnectionError(f"it ended after {len(content)} of {expected} bytes")
            return content
    system, path = file_system(address)
    with system.open(path, "rb") as stream:
        return bytes(stream.read(most + 1))


def _patiently(get: Callable[[], Got], where: str, wait: Callable[[float], object]) -> Got:
    """What `get` gives, tried again where the network may be at fault. Raises EntryError."""
    seconds = FIRST_WAIT
    for attempt in range(1, TRIES + 1):
        try:
            return get()
        except (InputError, MissingPackageError) as error:
            raise EntryError("unreadable", str(error)) from error
        except urllib.error.HTTPError as error:
            reason = f"the server says {error.code}"
            if error.code in GONE:
                raise EntryError(GONE[error.code], f"{where} cannot be fetched ({reason})") from error  # type: ignore[arg-type]
        except FileNotFoundError as error:
            raise EntryError("missing", f"{where} does not exist") from error
        except PermissionError as error:
            raise EntryError("forbidden", f"{where} may not be read") from error
        except Exception as error:  # every file system of fsspec has errors of its own
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        if attempt < TRIES:
            wait(seconds)
            seconds *= 2
    raise EntryError("network", f"{where} cannot be fetched ({reason}), tried {TRIES} times")

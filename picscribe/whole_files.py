"""Writes files that appear whole or not at all, whatever happens meanwhile."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from picscribe.errors import InputError

PARTIAL = ".partial"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content takes `path`'s place when the block ends without an error; else `path` stays as it was."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # a folder that takes no file: what went wrong is said already
            partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write text, as UTF-8, or bytes. Raises InputError where the disk is full or the folder takes no files."""
    try:
        with whole_file(path) as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error

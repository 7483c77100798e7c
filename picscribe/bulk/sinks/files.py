"""Files of outputs that appear whole or not at all, many at a time, each safely on the disk."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from picscribe.bulk.failures import DiskFull, Failure, is_disk_full

WRITERS = 8
"""Threads that wait for the disk: file systems write many files out together."""

MARK = ".picscribe-"
"""How files begin that are not whole yet; what a kill left of them is written over, as the same file has the same."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """What a file is to be. `seen` is its `signature` when it was read, None where it was not there."""

    path: str
    content: bytes
    seen: tuple[int, ...] | None
    row: int


def signature(path: str) -> tuple[int, ...] | None:
    """What changes when a file is written by anybody; None where there is none that can be reached."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def partial_of(path: str) -> str:
    """Where a file is written until it is complete: next to it, hidden, with a name that is not too long."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f"{MARK}{hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()}.partial")


def write_all(files: Sequence[NewFile]) -> dict[int, Failure]:
    """Write files, each durably; for the rows that could not be written, why. Raises DiskFull.

    A file that was not there is made only if it is still not there; one that was is replaced only if it is the same.
    """
    with ThreadPoolExecutor(WRITERS) as pool:
        problems = dict(zip((file.row for file in files), pool.map(_stage, files), strict=True))
    full = next((problem for problem in problems.values() if isinstance(problem, DiskFull)), None)
    if full is not None:
        for file in files:
            _discard(partial_of(file.path))
        raise full
    failures: dict[int, Failure] = {}
    folders: set[str] = set()
    for file in files:
        problem = problems[file.row]
        if problem is None:
            problem = _publish(file)
            folders.add(os.path.dirname(file.path))
        if isinstance(problem, Failure):
            _discard(partial_of(file.path))
            failures[file.row] = problem
    sync_folders(folders)
    return failures


def _stage(file: NewFile) -> Failure | DiskFull | None:
    partial = partial_of(file.path)
    try:
        make_folder(os.path.dirname(file.path))
        with open(partial, "wb") as stream:
            stream.write(file.content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return refusal(file.path, error)
    return None


def _publish(file: NewFile) -> Failure | None:
    partial = partial_of(file.path)
    try:
        if file.seen is None:
            try:
                os.link(partial, file.path)  # unlike a rename it leaves alone what has come there meanwhile
                os.unlink(partial)
                return None
            except FileExistsError:
                return _changed(file.path)
            except OSError:  # a file system without links
                pass
        if signature(file.path) != file.seen:
            return _changed(file.path)
        if file.seen is not None:
            with contextlib.suppress(OSError):
                os.chmod(partial, os.stat(file.path).st_mode & 0o7777)
        os.replace(partial, file.path)
    except OSError as error:
        problem = refusal(file.path, error)
        if isinstance(problem, DiskFull):
            raise problem from error
        return problem
    return None


def refusal(path: str, error: OSError) -> Failure | DiskFull:
    """What it means that the system refuses to write a file."""
    from picscribe.bulk.entries import printable

    where = printable(path)
    if is_disk_full(error):
        return DiskFull(f"{where}: no room on the disk: free some, then the same command continues")
    return Failure("unwritable", f"{where} cannot be written ({error.strerror or error})")


def _changed(path: str) -> Failure:
    from picscribe.bulk.entries import printable

    return Failure("unwritable", f"{printable(path)} was changed by something else meanwhile, and is left as it is")


def _discard(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def make_folder(folder: str) -> None:
    """Make a folder and those above it, durably."""
    made = []
    path = os.path.abspath(folder)
    while not os.path.isdir(path):
        made.append(path)
        path = os.path.dirname(path)
    if made:
        os.makedirs(folder, exist_ok=True)
        sync_folders({path, *made})


def sync_folders(folders: Iterable[str]) -> None:
    """Have what was made and renamed in folders survive a loss of power."""
    if os.name == "nt":
        return
    for folder in folders:
        with contextlib.suppress(OSError):
            handle = os.open(folder or ".", os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def write_durably(path: str, content: bytes) -> None:
    """Have a file of our own be `content`, or stay as it was. Raises OSError."""
    partial = partial_of(path)
    try:
        with open(partial, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError:
        _discard(partial)
        raise
    sync_folders([os.path.dirname(path)])

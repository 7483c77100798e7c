"""One run a job at a time: a lock on a file, which the system drops when its holder dies."""

import json
import os
import socket
import time
from pathlib import Path
from typing import IO

from picscribe.errors import InputError

FILE = "lock"


class Lease:
    """Held from `Lease(folder)` to `close`. The lock is not inherited by worker processes, so none can outlive it.

    Raises InputError where another run holds it, with the process and machine that do.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._stream: IO[str] = self._path.open("a+", encoding="utf-8")
        try:
            _lock(self._stream)
        except OSError as error:
            holder = self._holder()
            self._stream.close()
            raise InputError(
                f"another run works on this job ({holder}): wait for it, or stop it; the same command then continues"
                f" from there ({self._path})"
            ) from error
        self._stream.truncate(0)
        json.dump({"process": os.getpid(), "machine": socket.gethostname(), "since": time.time()}, self._stream)
        self._stream.flush()

    def _holder(self) -> str:
        try:
            said = json.loads(self._path.read_text(encoding="utf-8"))
            return f"process {said['process']} on {said['machine']}"
        except (OSError, ValueError, LookupError, TypeError):
            return "its lock is held"

    def close(self) -> None:
        """Let another run have the job."""
        self._stream.close()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_held(folder: Path) -> bool:
    """Whether a run holds the job's lease now."""
    try:
        with (folder / FILE).open("a+", encoding="utf-8") as stream:
            _lock(stream)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _lock(stream: IO[str]) -> None:
    """Raises OSError where another process holds the lock."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        stream.seek(1 << 30)  # far behind what the file says of its holder, which others may read
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        stream.seek(0)
    else:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)

"""A folder that grows: each file that comes, or is mended, joins the job once it is whole."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from picscribe.bulk.entries import Entry, is_address
from picscribe.bulk.inputs.selection import Selection, entry_of_file
from picscribe.errors import ConfigurationError, MissingPackageError
from picscribe.media.folders import files_below

STILL = 1.0
"""Seconds for which a file must not have changed, as it may be written yet."""

COARSEST_CLOCK = 2.0
"""Seconds that the times of files may be wrong by, as on FAT."""

STEP = 500
"""Milliseconds between two looks at whether to stop."""


def watched(inputs: Sequence[str]) -> list[str]:
    """The folders among the inputs. Raises ConfigurationError for none, MissingPackageError without watchfiles."""
    folders = [given for given in inputs if not is_address(given) and os.path.isdir(given)]
    if not folders:
        raise ConfigurationError("--watch needs a folder to watch among the inputs")
    try:
        import watchfiles  # noqa: F401
    except ImportError as error:
        raise MissingPackageError('--watch needs watchfiles: pip install "picscribe[bulk]"') from error
    return folders


def arrivals(
    folders: Sequence[str], selection: Selection, since: float, stopping: Callable[[], bool]
) -> Iterator[list[Entry]]:
    """Entries of files that came or changed since a time and then stayed as they are for a while.

    Some of them may be known already: watching begins later than `since`, in seconds since 1970, so what came before
    it is looked for. Ends when `stopping()`.
    """
    from watchfiles import Change, watch

    unripe: dict[str, str] | None = None
    for changes in watch(*folders, rust_timeout=STEP, yield_on_timeout=True, raise_interrupt=False, step=50):
        if stopping():
            return
        if unripe is None:  # from now on nothing is missed
            unripe = {path: folder for folder in folders for path in _changed(folder, since)}
        for change, path in changes:
            if change != Change.deleted:
                unripe[path] = _folder_of(path, folders)
        ripe = [path for path in unripe if _is_still(path)]
        found = [entry_of_file(path, unripe.pop(path), selection) for path in ripe]
        if entries := [entry for entry in found if entry is not None]:
            yield entries


def _changed(folder: str, since: float) -> Iterator[str]:
    """Files that were changed since, or moved here; folders that cannot be read were noted when the job was planned."""
    for path in files_below(Path(folder), unreadable=lambda *_: None):
        with contextlib.suppress(OSError):
            found = path.stat()
            if max(found.st_mtime, found.st_ctime) >= since - COARSEST_CLOCK:
                yield str(path)


def _folder_of(path: str, folders: Sequence[str]) -> str:
    return next((f for f in folders if os.path.realpath(path).startswith(os.path.realpath(f) + os.sep)), folders[0])


def _is_still(path: str) -> bool:
    """Whether a file has not changed for a while, or is gone again."""
    try:
        return time.time() - os.stat(path).st_mtime > STILL
    except OSError:
        return True

"""The files of a folder in natural order, and what was left out."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from picscribe.errors import InputError
from picscribe.media.sources import describe


def _natural_key(path: Path) -> tuple[list[list[tuple[int, int, str]]], str]:
    parts = [re.split(r"(\d+)", part) for part in path.parts]
    key = [[(0, int(x), "") if x.isdecimal() else (1, 0, x.casefold()) for x in part if x] for part in parts]
    return key, str(path)


@dataclass(frozen=True)
class FolderContent:
    """What `find_images` found: `files` in natural order, and what was left out.

    `unreadable` gives the reason for each folder within that cannot be read, `linked` the links to folders.
    """

    files: tuple[Path, ...]
    unreadable: Mapping[Path, InputError]
    linked: tuple[Path, ...]


def find_images(folder: Path) -> FolderContent:
    """Every file of a folder and those below it in natural order (photo2 before photo10), hidden ones left out.

    Files of any suffix are listed: whether one is an image shows when it is opened. Links to folders are not followed.
    Raises InputError for a folder that is missing or cannot be read; one within it does not hide the others' files.
    """
    files: list[Path] = []
    linked: list[Path] = []
    unreadable: dict[Path, InputError] = {}

    def note(error: OSError) -> None:
        path = Path(error.filename or folder)
        what = f"folder {describe(path)} cannot be read ({error.strerror})"
        problem = InputError(f"{what}: check its name and permissions")
        if path == folder:
            raise problem from error
        unreadable[path] = problem

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked += [Path(parent, name) for name in folders if os.path.islink(os.path.join(parent, name))]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    files.sort(key=lambda path: _natural_key(path.relative_to(folder)))
    return FolderContent(tuple(files), unreadable, tuple(linked))

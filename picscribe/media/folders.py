"""What is in folders: the one listing of the package. Hidden names are left out, links to folders are not followed."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from picscribe.errors import InputError
from picscribe.media.sources import describe

Kind = Literal["file", "folder", "link"]
"""Of a name in a folder; "link" is one to a folder, and a link to a file is a file."""


@dataclass(frozen=True)
class FolderContent:
    """What `find_images` found: `files` in natural order, and what was left out.

    `unreadable` gives the reason for each folder within that cannot be read, `linked` the links to folders.
    """

    files: tuple[Path, ...]
    unreadable: Mapping[Path, InputError]
    linked: tuple[Path, ...]


def find_images(folder: Path) -> FolderContent:
    """Every file of a folder and those below it in natural order (photo2 before photo10).

    Files of any suffix are listed: whether one is an image shows when it is opened.
    Raises InputError for a folder that is missing or cannot be read; one within it does not hide the others' files.
    """
    unreadable: dict[Path, InputError] = {}
    linked: list[Path] = []
    files = sorted(
        files_below(folder, unreadable.__setitem__, linked.append),
        key=lambda path: _natural_key(path.relative_to(folder)),
    )
    return FolderContent(tuple(files), unreadable, tuple(linked))


def files_below(
    folder: Path,
    unreadable: Callable[[Path, InputError], object] | None = None,
    linked: Callable[[Path], object] | None = None,
) -> Iterator[Path]:
    """Every file of a folder and then those below it, in the order of their names.

    `unreadable` is called with each folder within that cannot be read and its error, `linked` with each link to a
    folder. Raises InputError for a folder that is missing or cannot be read, without `unreadable` for one within too.
    """
    waiting = [folder]
    while waiting:
        parent, folders = waiting.pop(), list[Path]()
        try:
            for name, kind in names_in(parent):
                path = Path(parent, name)
                if kind == "file":
                    yield path
                elif kind == "folder":
                    folders.append(path)
                elif linked is not None:
                    linked(path)
        except OSError as error:
            what = f"folder {describe(parent)} cannot be read ({error.strerror or error})"
            problem = InputError(f"{what}: check its name and permissions")
            if parent == folder or unreadable is None:
                raise problem from error
            unreadable(parent, problem)
        waiting += reversed(folders)


def names_in(folder: str | os.PathLike[str], at_a_time: int | None = None) -> Iterator[tuple[str, Kind]]:
    """The names in a folder, sorted, each with what it is; with `at_a_time` so many are read and sorted at a time.

    Raises OSError for a folder that is missing or cannot be read.
    """
    some: list[tuple[str, Kind]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            some.append((entry.name, _kind_of(entry)))
            if len(some) == at_a_time:
                yield from sorted(some)
                some = []
    yield from sorted(some)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: a Mac leaves ._dog.jpg and __MACOSX in what it packs."""
    return name.startswith(".") or name == "__MACOSX"


def _kind_of(entry: "os.DirEntry[str]") -> Kind:
    try:
        is_folder = entry.is_dir()
    except OSError:  # a loop of links
        is_folder = False
    return "file" if not is_folder else "link" if entry.is_symlink() else "folder"


def _natural_key(path: Path) -> tuple[list[list[tuple[int, int, str]]], str]:
    parts = [re.split(r"(\d+)", part) for part in path.parts]
    key = [[(0, int(x), "") if x.isdecimal() else (1, 0, x.casefold()) for x in part if x] for part in parts]
    return key, str(path)

"""Finds the photos or videos that an annotation file names: the folder, and which spelling of a name is there."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import islice, product
from pathlib import Path, PurePosixPath

from picscribe.errors import InputError

SAMPLES = 100
"""File names of which one must be there for a folder to be taken for the right one."""


class MediaFolder:
    """A folder of photos or videos; folders in it are listed once, not asked for each file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._present: dict[PurePosixPath, frozenset[str]] = {}

    def find(self, names: Sequence[PurePosixPath]) -> Path:
        """The first of several spellings of a file's name that is there; the first of all where none is."""
        return self.path / next((name for name in names if name.name in self._list(name.parent)), names[0])

    def _list(self, folder: PurePosixPath) -> frozenset[str]:
        if folder not in self._present:
            self._present[folder] = list_folder(self.path / folder)
        return self._present[folder]


def list_folder(folder: Path) -> frozenset[str]:
    """The names in a folder, none where there is no such folder. Raises InputError where it may not be read."""
    if not os.path.isdir(folder):
        return frozenset()
    try:
        return frozenset(os.listdir(folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror or error})") from error


def find_folder(
    annotations: Path, given: Path | None, names: Iterable[PurePosixPath], usual: Sequence[str] = ()
) -> Path:
    """The folder that the file names of an annotation file are relative to.

    `given`, or a folder of one of the `usual` names in it where that one holds one of the first `names`. Without it,
    the first place that holds one, of: next to the file, in images/ next to it, one folder up, in images/ there, and in
    each of those a folder of one of the `usual` names. If none holds them, it is images/ next to the file: captions
    can be scored without photos, and who needs them finds them missing.
    Raises InputError if `given` is not a folder.
    """
    samples = list(islice(names, SAMPLES))
    if given is not None:
        if not os.path.isdir(given):
            raise InputError(f"{given}: there is no such folder of images or videos (for {annotations}): name another")
        return next(
            (place for place in (given, *(given / name for name in usual)) if _holds_one(place, samples)), given
        )
    beside = annotations.absolute().parent
    bases = [beside / "images", beside, beside.parent / "images", beside.parent]
    places = [base / name if name else base for name, base in product(("", *usual), bases)]
    return next((place for place in places if _holds_one(place, samples)), bases[0])


def _holds_one(place: Path, names: Iterable[PurePosixPath]) -> bool:
    return os.path.isdir(place) and any(os.path.isfile(stored_path(place / name)) for name in names)


def stored_path(path: Path, listings: dict[Path, dict[str, str]] | None = None) -> Path:
    """The path under which a file is stored: as given, or with the accents of its name composed the other way.

    A Mac stores é as e and an accent (NFD), while tables have one letter (NFC). A path that is nowhere stays as it is.
    `listings` keeps what was read of folders, for many paths.
    """
    if str(path).isascii() or os.path.lexists(path):
        return path
    listings = {} if listings is None else listings
    parent = stored_path(path.parent, listings)
    if parent not in listings:
        listings[parent] = {composed(name): name for name in list_folder(parent) if not name.isascii()}
    return parent / listings[parent].get(composed(path.name), path.name)


def composed(name: str) -> str:
    """A name with its accents composed, which is the same however they were stored."""
    return unicodedata.normalize("NFC", name)


def spellings(path: PurePosixPath) -> list[PurePosixPath]:
    """A photo's name with the folder that the annotations give, and without: many keep all photos in one folder."""
    return [path] if len(path.parts) == 1 else [path, PurePosixPath(path.name)]

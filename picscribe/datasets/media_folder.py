"""Finds the photos or videos that an annotation file names: the folder, and which spelling of a name is there."""

import os
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

    `given` as it is; else the first place that holds one of the first `names`, of: beside the file, in images/ beside
    it, one folder up, in images/ there, and in each of those a folder of one of the `usual` names. Where none holds
    them it is images/ beside the file: captions can be scored without photos, and who needs them finds them missing.
    Raises InputError where `given` is no folder.
    """
    if given is not None:
        if not os.path.isdir(given):
            raise InputError(f"{given}: no such folder of images or videos (for {annotations})")
        return given
    beside = annotations.absolute().parent
    bases = [beside / "images", beside, beside.parent / "images", beside.parent]
    places = [base / name if name else base for name, base in product(("", *usual), bases)]
    samples = list(islice(names, SAMPLES))
    for place in places:
        if os.path.isdir(place) and any(os.path.isfile(place / name) for name in samples):
            return place
    return bases[0]

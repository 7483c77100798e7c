"""What a form of data set is to the registry: a name, a way to know it, a way to read it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from picscribe.datasets.dataset import Dataset


@dataclass(frozen=True)
class Format:
    """One form that data sets come in.

    name: as `--format` takes it. summary: one line for people.
    fits: whether a file or folder looks like it, from names and first bytes alone; never raises for a strange file.
    read: reads it, given the folder of images or None for the usual place. Raises InputError where it is not of the
    form as a whole; single rows become oddities.
    """

    name: str
    summary: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Path | None], Dataset]

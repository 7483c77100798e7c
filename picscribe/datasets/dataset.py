"""A data set as it was read: its examples, its splits, and the rows that cannot be used."""

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from picscribe.datasets.examples import Example, Oddity
from picscribe.datasets.media_folder import list_folder
from picscribe.errors import InputError

Task = Literal["captions", "questions", "labels"]
Medium = Literal["images", "videos"]


@dataclass(frozen=True)
class Dataset:
    """All splits of a data set, in its own order; `oddities` are the rows that are not among `examples`, and `notes`
    what is no mistake, but may be news to its owner.
    """

    path: Path
    format: str
    task: Task
    examples: tuple[Example, ...]
    oddities: tuple[Oddity, ...] = ()
    medium: Medium = "images"
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, int]:
        """How many usable examples each split has, in the order of their first."""
        return dict(Counter(example.split for example in self.examples))

    def select(self, split: str | None) -> tuple[Example, ...]:
        """The examples of a split, or of several joined with "+"; None for a data set that has but one.

        Raises InputError for a split that is not there, and where a row of it cannot be used: a score over part of a
        data set is not its score.
        """
        wanted = self._wanted(split)
        require_none([oddity for oddity in self.oddities if oddity.split in wanted or not oddity.split], self.path)
        return tuple(example for example in self.examples if example.split in wanted)

    def _wanted(self, split: str | None) -> set[str]:
        known = {*self.splits, *(oddity.split for oddity in self.oddities if oddity.split)}
        wanted = None if split is None else splits_named(split)
        require_splits(self.path, wanted, known)
        return known if wanted is None else wanted


def splits_named(split: str) -> set[str]:
    """Splits that are joined with "+"."""
    return {name.strip() for name in split.split("+")}


def require_splits(path: Path, wanted: Set[str] | None, known: Set[str]) -> None:
    """Raise InputError for a split that is not there, and where none is wanted by name and there are several."""
    listed = ", ".join(map(repr, sorted(known - {""})))
    if wanted is None and len(known) > 1:
        raise InputError(f"{path}: has the splits {listed}: name one with --split (split=)")
    if wanted and (unknown := wanted - (known - {""})):
        names = ", ".join(map(repr, sorted(unknown)))
        raise InputError(
            f"{path}: has no images of the split {names}: name another; it has {listed or 'no splits: name none'}"
        )


def require_none(oddities: Sequence[Oddity], path: Path) -> None:
    """InputError that names the first odd rows, where there are any."""
    if not oddities:
        return
    if len(oddities) == 1:
        raise InputError(str(oddities[0]))
    shown = "; ".join(str(oddity) for oddity in oddities[:3])
    more = f"; and {len(oddities) - 3} more: picscribe data inspect lists them" if len(oddities) > 3 else ""
    raise InputError(f"{path}: {len(oddities)} rows cannot be used: {shown}{more}")


def missing_files(examples: Iterable[Example]) -> list[Oddity]:
    """An oddity for each example whose file is not there; folders are listed once, not asked for each file."""
    present: dict[Path, frozenset[str]] = {}
    missing = []
    for example in examples:
        source = example.source
        if not isinstance(source, Path):
            continue
        folder = source.parent
        if folder not in present:
            present[folder] = list_folder(folder)
        if source.name not in present[folder]:
            missing.append(Oddity(example.where, f"{source} is not there", example.split))
    return missing

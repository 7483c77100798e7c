"""Collects the rows of a data set as they are read: one that cannot be used does not stop the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from picscribe.datasets.dataset import Dataset, Medium, Task
from picscribe.datasets.examples import Example, Oddity
from picscribe.datasets.values import shown
from picscribe.errors import InputError


class Rows:
    """Examples and oddities in the order in which they come; a second row of one id is an oddity."""

    def __init__(self) -> None:
        self.examples: dict[str, Example] = {}
        self.oddities: list[Oddity] = []

    @contextmanager
    def reading(self, where: str, split: str = "") -> Iterator[None]:
        """Read one row within: an InputError, which need not say where, becomes an oddity."""
        try:
            yield
        except InputError as error:
            self.oddities.append(Oddity(where, str(error).removeprefix(f"{where}: "), split))

    def add(self, example: Example) -> None:
        """Keep an example. Raises InputError where an earlier one has its id."""
        if earlier := self.examples.get(example.id):
            raise InputError(f"the id {shown(example.id)} is there twice ({earlier.where}): remove one")
        self.examples[example.id] = example

    def extend(self, example: Example) -> None:
        """Keep an example, or give its texts to the earlier one of its id: for forms with a row for each caption.

        Raises InputError where the earlier one is of another split.
        """
        earlier = self.examples.get(example.id)
        if earlier and earlier.split != example.split:
            raise InputError(
                f"{shown(example.id)} is in the split {shown(earlier.split)} too ({earlier.where}): remove one"
            )
        self.examples[example.id] = replace(earlier, texts=earlier.texts + example.texts) if earlier else example

    def drop_empty_splits(self) -> None:
        """Give a split whose texts are all empty no texts: that is how a test split's file keeps its answers back.

        A single question that all annotators left empty stays as it is, and counts.
        """
        known = {e.split for e in self.examples.values() if any(text.strip() for text in e.texts)}
        for name, example in self.examples.items():
            if example.split not in known:
                self.examples[name] = replace(example, texts=())

    def dataset(self, path: Path, format: str, task: Task, medium: Medium = "images") -> Dataset:
        """What was read. Raises InputError where there was no row at all."""
        if not self.examples and not self.oddities:
            raise InputError(f"{path}: has no examples ({format}): name another file or folder")
        return Dataset(path, format, task, tuple(self.examples.values()), tuple(self.oddities), medium)

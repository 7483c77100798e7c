"""Writes the remaining pairs: a table if the photos are files, tars if they are inside other files."""

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from picscribe.datasets import Dataset, Example
from picscribe.datasets.values import inside
from picscribe.errors import InputError
from picscribe.whole_files import PARTIAL, whole_file

SHARD = 5000
"""Photos a tar."""


class Keeper(Protocol):
    """Takes what stays, in order; `root` is where the photos are found."""

    root: Path

    def keep(self, example: Example, texts: Sequence[str]) -> None:
        """Write an example with those of its texts that stay."""
        ...


@contextlib.contextmanager
def keeper_of(dataset: Dataset, root: Path | None, output: Path) -> Iterator[Keeper]:
    """The keeper for photos that are files below `root`, or inside other files if that is None; what it writes is
    complete or absent when the block ends.
    """
    if root is not None:
        with whole_file(output / "metadata.jsonl") as stream:
            yield Table(root, stream, dataset.task)
        return
    tars = Tars(output, dataset.task)
    try:
        yield tars
        tars.close()
    except BaseException:
        tars.abandon()
        raise


def folder_of(examples: Sequence[Example]) -> Path | None:
    """The folder below which all photos are files; None if some are inside other files.

    Raises InputError for a file name that no list of photos can hold.
    """
    try:
        paths = [example.source.resolve() for example in examples if isinstance(example.source, Path)]
    except UnicodeEncodeError as error:
        raise InputError(
            f"{error.object!r} cannot be a file name in this locale ({error.encoding}): set a UTF-8 one, such as "
            "LC_ALL=C.UTF-8"
        ) from error
    if len(paths) < len(examples):
        return None
    root = Path(os.path.commonpath([path.parent for path in paths]))
    for path in paths:
        name = path.relative_to(root).as_posix()
        try:
            inside(name.encode().decode(), "file_name")
        except (InputError, UnicodeEncodeError) as error:
            raise InputError(
                f"{root}: has {name!r}, but the list of kept photos cannot have names with : or \\ or what is not "
                "UTF-8: rename it"
            ) from error
    return root


class Table:
    """A line of metadata.jsonl for each photo, by its name below `root`."""

    def __init__(self, root: Path, stream: BinaryIO, task: str) -> None:
        self.root, self._stream, self._task = root, stream, task

    def keep(self, example: Example, texts: Sequence[str]) -> None:
        """Write a line."""
        assert isinstance(example.source, Path)
        name = example.source.resolve().relative_to(self.root).as_posix()
        said = {"label": texts[0]} if self._task == "labels" else {"captions": list(texts)}
        row = {"file_name": name, "id": example.id, **said}
        if example.split:
            row["split"] = example.split
        self._stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))


class Tars:
    """WebDataset tars, with the unchanged bytes of each photo, and its texts in a .json."""

    def __init__(self, output: Path, task: str) -> None:
        self.root, self._task = output, task
        self._count = 0
        self._tar: tarfile.TarFile | None = None

    def keep(self, example: Example, texts: Sequence[str]) -> None:
        """Write a photo and its texts."""
        photo = example.image()
        content = photo.read_bytes() if isinstance(photo, Path) else photo
        if self._count % SHARD == 0:
            self._next()
        key = f"{self._count:09}"
        said = {"label": texts[0]} if self._task == "labels" else {"captions": list(texts)}
        record = {"id": example.id, **said, **({"split": example.split} if example.split else {})}
        self._add(f"{key}.{_ending(content)}", content)
        self._add(f"{key}.json", json.dumps(record, ensure_ascii=False).encode("utf-8"))
        self._count += 1

    def close(self) -> None:
        """End the last tar, and give all their names."""
        self._end()
        for partial in sorted(self.root.glob(f"kept-*.tar{PARTIAL}")):
            partial.replace(partial.with_name(partial.name.removesuffix(PARTIAL)))

    def abandon(self) -> None:
        """Leave no tar behind."""
        self._end()
        for partial in self.root.glob(f"kept-*.tar{PARTIAL}"):
            partial.unlink(missing_ok=True)

    def _next(self) -> None:
        self._end()
        name = f"kept-{self._count // SHARD:05}.tar{PARTIAL}"
        self._tar = tarfile.open(self.root / name, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - see _end

    def _end(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        assert self._tar is not None
        self._tar.addfile(member, io.BytesIO(content))


def _ending(content: bytes) -> str:
    """The ending that fits the first bytes, jpg where none of these does; photos that stay have been opened."""
    return next((ending for place, sign, ending in SIGNS if content.startswith(sign, place)), "jpg")


SIGNS = (
    *((0, b"\x89PNG", "png"), (0, b"RIFF", "webp"), (0, b"GIF8", "gif"), (0, b"BM", "bmp")),
    *((0, b"II*\0", "tif"), (0, b"MM\0*", "tif"), (4, b"ftypavi", "avif"), (4, b"ftyphei", "heic")),
)
"""Where in a file, which bytes, and the ending of such files."""

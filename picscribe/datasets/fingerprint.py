"""What tells one data set from another: a hash of what is in it, wherever it lies."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from picscribe.datasets.examples import Example, PackedImage


def hash_examples(examples: Sequence[Example]) -> str:
    """SHA-256 of ids, texts, questions, and names and sizes of image files, or their places in larger
    ones; not of pixels, which would take minutes."""
    digest = hashlib.sha256()
    for example in examples:
        if isinstance(example.source, Path):
            file: tuple[object, ...] = (example.source.name, _size(example.source))
        else:
            file = _place(example.source)
        known = (example.id, example.split, example.question, example.texts, file)
        digest.update(repr(known).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _place(packed: PackedImage) -> tuple[object, ...]:
    """The place of an image in a larger file, and that file's name and size."""
    path = getattr(packed, "path", None)
    place = tuple(getattr(packed, name, None) for name in ("name", "start", "length"))
    return (path.name, _size(path), *place) if isinstance(path, Path) else place


def _size(file: Path) -> int:
    """Bytes of a file, -1 where it is not there."""
    try:
        return file.stat().st_size
    except OSError:
        return -1

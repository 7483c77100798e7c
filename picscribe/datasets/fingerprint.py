"""What tells one data set from another: a hash of what is in it, wherever it lies."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from picscribe.datasets.examples import Example


def hash_examples(examples: Sequence[Example]) -> str:
    """SHA-256 of ids, texts, questions, and names and sizes of image files; not of pixels, which would take minutes."""
    digest = hashlib.sha256()
    for example in examples:
        file = (example.source.name, _size(example.source)) if isinstance(example.source, Path) else ()
        digest.update(repr((example.id, example.question, example.texts, file)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _size(file: Path) -> int:
    """Bytes of a file, -1 where it is not there."""
    try:
        return file.stat().st_size
    except OSError:
        return -1

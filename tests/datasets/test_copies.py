"""Photos that are the same file again under another name."""

import os
from pathlib import Path

import pytest

from picscribe.datasets import Example
from picscribe.datasets.copies import TAIL, copies_of


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {
        "a": b"1" * 3 * TAIL,
        "again": b"1" * 3 * TAIL,
        "other begin": b"2" + b"1" * (3 * TAIL - 1),
        "other end": b"1" * (3 * TAIL - 1) + b"2",
        "longer": b"1" * (3 * TAIL + 1),
        "short": b"x",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


def examples(*sources: object) -> list[Example]:
    return [Example(str(number), source, ("a dog",)) for number, source in enumerate(sources)]  # type: ignore[arg-type]


def test_only_the_same_bytes_are_copies(files: dict[str, Path]) -> None:
    known = examples(files["a"], files["short"])
    assert copies_of(known, examples(*files.values())) == {files["a"], files["again"], files["short"]}
    assert copies_of([], examples(*files.values())) == set()


def test_what_cannot_be_read_is_no_copy(files: dict[str, Path], tmp_path: Path) -> None:
    """A pipe, which nobody writes to, does not hold up either."""
    os.mkfifo(pipe := tmp_path / "pipe")
    odd = (tmp_path / "missing", tmp_path, pipe)
    assert copies_of(examples(files["a"], *odd), examples(*odd, b"packed")) == set()

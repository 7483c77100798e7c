"""Files that appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from picscribe.errors import InputError
from picscribe.whole_files import whole_file, write_whole


def test_a_file_is_replaced_by_the_whole_new_one(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "old")
    write_whole(tmp_path / "a.txt", "naïve\n")
    assert (tmp_path / "a.txt").read_bytes() == "naïve\n".encode()
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_not_finished_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="stopped"), whole_file(tmp_path / "a.txt") as stream:
        stream.write(b"half")
        assert (tmp_path / "a.txt").read_text() == "old"
        raise RuntimeError("stopped")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a.txt", "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"a\.txt: cannot be written \(No space left"):
        write_whole(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]

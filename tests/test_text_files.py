"""The one reader of text and JSON: what is read, and what is said of everything that is something else."""

import re
import zipfile
from pathlib import Path

import pytest

from picscribe.errors import CheckpointError, InputError
from picscribe.text_files import parse_json, read_json, read_json_object, read_text, split_lines, what_instead

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 706000000\n"


def test_lines_end_at_line_feeds_alone() -> None:
    within = "one\u2028caption\u2029of\x85all\x0bmarks\x0cthat\x1cpart\x1dlines\x1eelsewhere\rand on"
    assert within.splitlines() != [within]
    assert split_lines(f"{within}\r\nanother\n\nlast") == [within, "another", "", "last"]
    assert split_lines("a\n") == ["a"] and split_lines("") == [] and split_lines("\n") == [""]


def test_nothing_in_the_package_parts_lines_elsewhere() -> None:
    """Left are what joins the lines of a message into one, and what reads other programs' numbers."""
    root = Path(__file__).resolve().parents[1] / "picscribe"
    allowed = {"java_metrics.py", "terminal.py", "data.py", "mapped_pages.py", "text_files.py"}
    found = {file.name for file in root.rglob("*.py") if re.search(r"\.splitlines\(", file.read_text("utf-8"))}
    assert found <= allowed


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_does_no_harm(mark: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(mark + '{"a": "é"}'.encode())
    assert read_json(file) == read_json_object(file) == {"a": "é"}
    assert read_text(file) == '{"a": "é"}'
    assert parse_json(file.read_bytes(), "it") == {"a": "é"}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (POINTER, r"a\.json: is a Git LFS pointer, not the file itself: run `git lfs pull`"),
        (b"\x1f\x8b\x08\x00", "is packed with gzip: unpack it"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not the file itself"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        ("{}".encode("utf-16"), "is UTF-16 text"),
        (b'{"a":\n"\xff"}', r"line 2 is not UTF-8 text \(byte 7\)"),
        (b'"\xff"', r"a\.json: is not UTF-8 text \(byte 1\)"),
        (b'{"a":\n1,}', r"is not valid JSON \(.*line 2"),
        (b"[" * 8_000, "nested too deeply"),
        (b"1" * 5000, "is not valid JSON"),
        (b"[]", "must contain a JSON object, found a list"),
        (b'{"a": "' + b"x" * 10_000 + b'"}', "over 9,000 bytes"),
    ],
)
def test_json_that_is_not_an_object(content: bytes, named: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    for error in (InputError, CheckpointError):
        with pytest.raises(error, match=named):
            read_json_object(tmp_path / "a.json", 9000, error)


def test_other_content_in_place_of_a_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.json", "{}")
    assert what_instead((tmp_path / "a.zip").read_bytes()) == "is a zip archive: unpack it"
    assert what_instead(b"\xef\xbb\xbfversion https://git-lfs") is not None
    assert what_instead(b"a version https://git-lfs") is None
    with pytest.raises(InputError, match=r"nowhere\.txt: cannot be read \(No such file"):
        read_text(tmp_path / "nowhere.txt")

"""Broken data sets of folders, tars, tables and TSVs: each is refused, or its row is odd, by file and place."""

import base64
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from picscribe.datasets import load_examples, read_dataset
from picscribe.errors import InputError

ROW = b"1\t" + base64.b64encode(b"photo " * 30) + b"\n"
CAPTION = b'1\t[{"caption": "x"}]\n'


def tsv(images: bytes = ROW, texts: bytes = CAPTION, **more: bytes) -> dict[str, bytes]:
    files = {"test.img.tsv": images, "test.caption.tsv": texts}
    return files | {f"test.img.{name.replace('_', '.')}": content for name, content in more.items()}


def tar(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def jsonl(*rows: object) -> dict[str, bytes]:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return {"metadata.jsonl": b"\n".join(lines), "a.jpg": b"", "b.jpg": b""}


TAR = tar(("a.jpg", b"photo" * 300), ("a.txt", b"x"), ("b.jpg", b"photo" * 300), ("b.txt", b"y"))
GOOD = {"file_name": "a.jpg", "text": "x"}
PHOTO = {"a.jpg": b""}

# What is wrong → the files, and what the error says.
BROKEN: dict[str, tuple[dict[str, bytes], str]] = {
    # TSV
    "index of another file": (
        tsv(ROW * 3, lineidx=b"0\n99\n240\n"),
        r"test\.img\.lineidx: row 2 is at byte 99, where no line of test\.img\.tsv starts; .*delete it",
    ),
    "binary index of another file": (
        tsv(ROW * 2, lineidx_8b=bytes(8) + (9000).to_bytes(8, "little")),
        r"test\.img\.lineidx\.8b: row 2 is at byte 9000",
    ),
    "index cut short": (
        tsv(lineidx_8b=bytes(12)),
        r"test\.img\.lineidx\.8b: has 12 bytes, which is not a multiple of 8",
    ),
    "index that is empty": (tsv(lineidx=b""), r"test\.img\.lineidx: its first offset is missing"),
    "index of words": (tsv(lineidx=b"0\nzero\n"), r"test\.img\.lineidx: line 2 is b'zero', not an offset"),
    "index that goes back": (tsv(ROW * 2, lineidx=b"0\n0\n"), r"test\.img\.lineidx: row 2 is at byte 0"),
    "index of negative numbers": (tsv(ROW * 2, lineidx_8b=bytes(8) + b"\xff" * 8), r"row 2 is at byte -1"),
    "image row without a tab": (tsv(ROW + b"x" * 3000 + b"\n"), r"test\.img\.tsv: line 2: has no tab within"),
    "image row without an image": (tsv(ROW + b"2\t\n"), r"test\.img\.tsv: line 2: the key '2' has no image"),
    "image row without a key": (tsv(ROW + b"\tAAAA\n"), r"test\.img\.tsv: line 2: the key is empty"),
    "same key twice": (tsv(ROW + ROW), r"test\.img\.tsv: line 2: the key '1' is there twice"),
    "key that is no text": (tsv(ROW + b"\xff\tAAAA\n"), r"test\.img\.tsv: line 2: the key .* is not UTF-8"),
    "text row without a tab": (tsv(texts=CAPTION + b"2 [x]\n"), r"test\.caption\.tsv: line 2: has no tab.*'2 \[x\]"),
    "texts an object": (tsv(texts=CAPTION + b'1\t{"a": 1}\n'), r"line 2: its second column must be a JSON list"),
    "texts not JSON": (tsv(texts=CAPTION + b'1\t[{"capt\n'), r"line 2: its second column: is not valid JSON"),
    "caption twice": (tsv(texts=CAPTION + CAPTION), r"line 2: the id '1' is there twice \(.*line 1\)"),
    "caption without the key": (tsv(texts=b'1\t[{"x": 1}]\n'), r"test\.caption\.tsv: line 1: has no column"),
    "caption a number": (tsv(texts=b'1\t[{"caption": 3}]\n'), r"line 1: caption\[0\] must be a text, found a number"),
    "caption empty": (tsv(texts=b'1\t[{"caption": " "}]\n'), r"test\.caption\.tsv: line 1: caption\[0\] is empty"),
    "giant line of texts": (tsv(texts=CAPTION + b"1\t[" + b" " * (17 << 20)), r"test\.caption\.tsv: line 2 is over 16"),
    "question without words": (
        tsv(texts=b'1\t[{"question_id": 5, "question": "?"}, {"question_id": 6}]\n'),
        r"test\.caption\.tsv: line 1 \[1\]: question is missing",
    ),
    # imagefolder
    "line 3 not JSON": (
        jsonl(GOOD, GOOD | {"file_name": "b.jpg"}, b"{"),
        r"metadata\.jsonl: line 3: is not valid JSON",
    ),
    "a line that is a list": (jsonl(GOOD, [1]), r"metadata\.jsonl: line 2: must be an object, found a list"),
    "not UTF-8": (jsonl(GOOD, b'{"text": "\xff"}'), r"metadata\.jsonl: line 2: is not UTF-8"),
    "giant line": (jsonl(GOOD, b" " * (2 << 20)), r"metadata\.jsonl: line 2 is over 1 MiB"),
    "no file_name": (jsonl({"text": "x"}), r"has no column 'file_name': add it, or rename one; it has 'text'"),
    "CSV without file_name": ({"metadata.csv": b"file,text\na.jpg,x\n"} | PHOTO, r"has no column 'file_name'"),
    "CSV with a comma too many": (
        {"metadata.csv": b"file_name,text\na.jpg,x\nb.jpg,one, two\n"} | PHOTO,
        r"metadata\.csv: line 3: has 3 cells, but the header has 2",
    ),
    "CSV with an open quote": (
        {"metadata.csv": b'file_name,text\na.jpg,"x\n'},
        r"metadata\.csv: line 2: its quotes do not match",
    ),
    "CSV in Latin-1": ({"metadata.csv": b"file_name,text\na.jpg,caf\xe9\n"}, r"metadata\.csv: line 2 is not UTF-8"),
    "empty metadata": ({"metadata.jsonl": b""}, r"has no column 'file_name': add it, or rename one; it has no columns"),
    "a file that leaves the folder": (jsonl(GOOD | {"file_name": "../a.jpg"}), r"line 1: file_name is '\.\./a\.jpg'"),
    "an absolute file": (jsonl(GOOD | {"file_name": "/etc/passwd"}), r"line 1: file_name is '/etc/passwd'"),
    "a file that is not there": (jsonl(GOOD | {"file_name": "c.jpg"}), r"line 1: .*c\.jpg is not there"),
    "a row without its caption": (jsonl(GOOD, {"file_name": "b.jpg"}), r"metadata\.jsonl: line 2: text is missing"),
    "no texts at all": (jsonl({"file_name": "a.jpg", "width": 3}), r"no column of captions .*'width'"),
    "a caption of 1 MB": (jsonl(GOOD | {"text": "x" * 1_000_000}), r"line 1.*(1,000,000 characters|over 1 MiB)"),
    "labels.json not an object": (
        {"metadata.jsonl": b'{"file_name": "a.jpg", "label": 1}', "labels.json": b"[]"} | PHOTO,
        r"labels\.json: must contain a JSON object",
    ),
    # WebDataset
    "tar cut within a member": ({"x.tar": TAR[:4000]}, r"x\.tar: ends inside b\.jpg"),
    "tar cut between members": ({"x.tar": TAR[:3072]}, r"x\.tar: has no end, so more may be missing after a\.txt"),
    "tar without an end": ({"x.tar": TAR[:6144]}, r"x\.tar: has no end, so more may be missing after b\.txt"),
    "tar broken in the middle": (
        {"x.tar": TAR[:3072] + b"x" * 512 + TAR[3584:]},
        r"x\.tar: continues with something that is not a member after a\.txt",
    ),
    "not a tar": ({"x.tar": b"no tar at all" * 100}, r"x\.tar: is not a tar that can be read"),
    "empty file for a tar": ({"x.tar": b""}, r"x\.tar: is not a tar that can be read"),
    "compressed tar": ({"x.tar.gz": b"\x1f\x8b"}, r"x\.tar\.gz: is a compressed tar.*decompress"),
    "sample without image": ({"x.tar": tar(("a.txt", b"x"))}, r"x\.tar: a: has no image, only txt"),
    "member that leaves the folder": ({"x.tar": tar(("../a.jpg", b"x"))}, r"x\.tar: \.\./a\.jpg: the member's name"),
    "member twice": (
        {"x.tar": tar(("a.txt", b"x"), ("a.txt", b"y"))},
        r"x\.tar: a\.txt: the key 'a' has two files \.txt",
    ),
    "text not UTF-8": ({"x.tar": tar(("a.jpg", b"x"), ("a.txt", b"\xff"))}, r"x\.tar: a: its text: is not UTF-8"),
    "giant text": ({"x.tar": tar(("a.jpg", b"x"), ("a.txt", b"x" * (2 << 20)))}, r"x\.tar: a: its text: is over 1 MiB"),
    # photos with texts beside them, classes
    "photo without a text": ({"a.jpg": b"", "a.txt": b"x", "b.jpg": b""}, r"b\.jpg: has no captions: no b\.txt"),
    "text without a photo": ({"a.jpg": b"", "a.txt": b"x", "b.txt": b"x"}, r"b\.txt: no photo has this name"),
    "giant text file": ({"a.jpg": b"", "a.txt": b"x" * (2 << 20)}, r"a\.txt: is over 1 MiB long"),
    "classes.txt without words": (
        {"a/1.jpg": b"", "b/1.jpg": b"", "classes.txt": b"a ant\nb\n"},
        r"classes\.txt: line 2: the name of b is empty",
    ),
    "class without a name": (
        {"a/1.jpg": b"", "b/1.jpg": b"", "labels.json": b'{"a": "ant"}'},
        r"b: has no name in .*labels\.json",
    ),
    "empty folder": ({}, "data"),
}


@pytest.mark.parametrize("which", BROKEN)
def test_a_broken_data_set_is_refused_by_file_and_place(which: str, tmp_path: Path) -> None:
    files, message = BROKEN[which]
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_examples(folder, None, None)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("image", "message"),
    [(b"1\t" + b"AB" * 41 + b"=?\n", "is not base64"), (b"1\t" + b"A" * 41 + b"\n", "is not base64")],
)
def test_an_image_that_is_not_base64_is_named_when_it_is_opened(image: bytes, message: str, tmp_path: Path) -> None:
    for name, content in tsv(image).items():
        (tmp_path / name).write_bytes(content)
    (example,) = read_dataset(tmp_path).examples
    with pytest.raises(InputError, match=rf"test\.img\.tsv: 1: {message}"):
        example.image()


def test_a_mark_and_windows_lines_do_no_harm(tmp_path: Path) -> None:
    files = tsv(b"\xef\xbb\xbf" + ROW.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + CAPTION.replace(b"\n", b"\r\n"))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    ((example,), oddities) = (read_dataset(tmp_path).examples, read_dataset(tmp_path).oddities)
    assert (example.id, example.image(), oddities) == ("1", b"photo " * 30, ())


def test_one_tsv_without_the_other_is_named(tmp_path: Path) -> None:
    (tmp_path / "test.caption.tsv").write_bytes(CAPTION)
    with pytest.raises(
        InputError, match=r"test\.caption\.tsv: there is no TSV of its images \(test\.img\.tsv or test\.tsv\)"
    ):
        read_dataset(tmp_path / "test.caption.tsv")
    (tmp_path / "alone.tsv").write_bytes(ROW)
    with pytest.raises(InputError, match=r"alone\.tsv: is a TSV of images; none of texts"):
        read_dataset(tmp_path / "alone.tsv")


def _not_parquet(path: Path) -> None:
    path.write_bytes(b"PAR1 but no table" * 10)


def _cut_short(path: Path) -> None:
    _table(path, image=[b"x" * 3000], caption=["x"])
    path.write_bytes(path.read_bytes()[:-20])


def _damaged(path: Path) -> None:
    _table(path, image=[b"x"] * 5, caption=[f"{k} {os.urandom(3000).hex()}"[:4000] for k in range(5)])
    content = bytearray(path.read_bytes())
    at = content.index(b"caption")
    content[4 : at // 2] = bytes(at // 2 - 4)
    path.write_bytes(content)


def _table(path: Path, **columns: list[object]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_not_parquet, r"x\.parquet: is not a Parquet table"),
        (_cut_short, r"x\.parquet: is not a Parquet table"),
        (_damaged, r"x\.parquet: (cannot be read after row 0|row \d)"),
        (lambda path: path.touch(), r"x\.parquet: is not a Parquet table"),
        (
            lambda path: _table(path, caption=["x"], width=[3]),
            r"x\.parquet: has no column of images .*'caption', 'width'",
        ),
        (
            lambda path: _table(path, image=[b"x"], width=[3]),
            r"x\.parquet: has no column of captions .*'image', 'width'",
        ),
        (
            lambda path: _table(path, image=[3], caption=["x"]),
            r"x\.parquet: image must be a column of bytes or of paths, found int64",
        ),
        (lambda path: _table(path, image=[b"x"], caption=[[]]), r"x\.parquet: row 0: caption is empty"),
        (lambda path: _table(path, image=[b"x"], caption=[["a", " "]]), r"x\.parquet: row 0: caption\[1\] is empty"),
        (lambda path: _table(path, image=[b"x"], label=[3]), r"x\.parquet: row 0: label is 3, a number without a name"),
    ],
)
def test_a_broken_table_is_refused_by_file_and_row(write: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=message):
        load_examples(tmp_path / "x.parquet", None, None)

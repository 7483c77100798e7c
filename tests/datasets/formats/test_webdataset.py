"""WebDataset tars: samples by key, every kind of text, members read in place."""

import io
import json
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from picscribe.datasets import read_dataset
from picscribe.datasets.examples import FileSlice
from picscribe.datasets.formats.webdataset import WEBDATASET


def write_tar(path: Path, members: dict[str, bytes | str], format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_captions_of_every_kind(format: int, tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {
        "./0.jpg": b"zero",
        "./0.txt": "\ufeffone\r\n\r\ntwo\r\n",
        "1.caption": "three",
        "1.PNG": b"one",
        "a.b/2.webp": b"two",
        "a.b/2.json": json.dumps({"captions": ["four", "five"], "image_id": 17}),
        "3.json": json.dumps({"width": 4, "text": "six"}),
        "3.jpeg": b"three",
        "4.jpg": b"four",
        "4.seg.png": b"a mask",
        "4.txt": "seven",
        f"{'é' * 120}.jpg": b"long name",
        f"{'é' * 120}.txt": "eight",
    }
    if format == tarfile.USTAR_FORMAT:
        members = {name: content for name, content in members.items() if name.isascii()}
    dataset = read_dataset(write_tar(tmp_path / "train-0.tar", members, format))
    assert (dataset.format, dataset.task, dataset.oddities) == ("webdataset", "captions", ())
    assert [(one.id, one.texts) for one in dataset.examples][:5] == [
        ("train-0/0", ("one", "two")),
        ("train-0/1", ("three",)),
        ("17", ("four", "five")),
        ("train-0/3", ("six",)),
        ("train-0/4", ("seven",)),
    ]
    images = [content for name, content in members.items() if name.lower().endswith(("g", "p")) and "seg" not in name]
    assert [one.image() for one in dataset.examples] == images
    assert dataset.splits == {"train": len(images)}


def test_shards_of_a_folder_labels_and_questions(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val")):
        write_tar(tmp_path / "labels" / split / "00.tar", {"a.jpg": b"x", "a.cls": f"{number}\n"})
        (tmp_path / "labels" / split / "classes.txt").write_text("0 tench\n1 great white shark\n")
    dataset = read_dataset(tmp_path / "labels")
    assert (dataset.task, dataset.splits) == ("labels", {"train": 1, "val": 1})
    assert [(one.id, one.texts) for one in dataset.examples] == [
        ("train/00/a", ("tench",)),
        ("val/00/a", ("great white shark",)),
    ]
    asked = json.dumps({"question": "what?", "answer": "a cat", "question_id": 3})
    (question,) = read_dataset(write_tar(tmp_path / "q.tar", {"a.jpg": b"x", "a.json": asked, "a.txt": "y"})).examples
    assert (question.id, question.question, question.texts) == ("3", "what?", ("a cat",))


def test_half_a_sample_is_odd(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "x.tar",
        {"a.jpg": b"x", "a.txt": "x", "b.txt": "x", "c.jpg": b"x", "d.jpg": b"x", "d.png": b"x", "d.txt": "y"}
        | {"e.jpg": b"x", "e.json": "[]", "f.jpg": b"x", "f.json": "{", "g.jpg": b"x", "g.txt": " ", "h.jpg": b"x"}
        | {"h.cls": "3", "../i.jpg": b"x", "/j.jpg": b"x"},
    )
    dataset = read_dataset(path)
    assert [example.id for example in dataset.examples] == ["x/a"]
    problems = {odd.where.removeprefix(f"{path}: "): odd.problem for odd in dataset.oddities}
    expected = {
        "../i.jpg": "inside the folder",
        "/j.jpg": "inside the folder",
        "b": "no image, only txt",
        "c": "has no text",
        "d": "2 images",
        "e": "must be an object",
        "f": "not valid JSON",
        "g": "is empty",
        "h": "a number without a name",
    }
    assert set(problems) == set(expected)
    for where, problem in expected.items():
        assert problem in problems[where], where


def test_links_are_odd(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (odd,) = read_dataset(path).oddities
    assert "a.jpg" in odd.where
    assert "link" in odd.problem


def test_other_files_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "x.tarot").touch()
    assert not WEBDATASET.fits(tmp_path / "x.tarot")
    assert not WEBDATASET.fits(tmp_path)
    assert not WEBDATASET.fits(tmp_path / "nowhere.tar")


def test_gigabytes_stay_in_their_tar(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "x.tar",
        {name: data for k in range(15) for name, data in ((f"{k}.jpg", bytes(4 << 20)), (f"{k}.txt", "x"))},
    )
    assert path.stat().st_size > 60 << 20
    tracemalloc.start()
    try:
        dataset = read_dataset(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(dataset.examples) == 15
    assert peak < (2 << 20)
    assert isinstance(dataset.examples[0].source, FileSlice)


def test_what_comes_after_an_end_is_told_of(tmp_path: Path) -> None:
    """A hole in a download and two tars put one behind the other both look like a tar that ends early."""
    members: dict[str, bytes | str] = {name: "a photo" for n in range(6) for name in (f"{n}.jpg", f"{n}.txt")}
    whole = write_tar(tmp_path / "whole.tar", members).read_bytes()
    (tmp_path / "hole.tar").write_bytes(whole[:4096] + bytes(512) + whole[4608:])
    (tmp_path / "twice.tar").write_bytes(whole + whole)
    for name, left in (("hole", 2), ("twice", 6)):
        dataset = read_dataset(tmp_path / f"{name}.tar")
        assert len(dataset.examples) == left
        (oddity,) = dataset.oddities
        assert "continues after its end" in oddity.problem
    (tmp_path / "padded.tar").write_bytes(whole + bytes(1 << 21))
    assert read_dataset(tmp_path / "padded.tar").oddities == ()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (  # dots within names, also where one name is the beginning of another
            {"v2.0 (a).jpg": b"a", "v2.0 (a).txt": "one", "v2.0 (b).JPG": b"b", "v2.0 (b).caption": "two"},
            [("v2.0 (a)", b"a", ("one",)), ("v2.0 (b)", b"b", ("two",))],
        ),
        (
            {"v2.jpg": b"a", "v2.txt": "one", "v2.1.jpg": b"b", "v2.1.txt": "two", "v2.1.json": "{}"},
            [("v2", b"a", ("one",)), ("v2.1", b"b", ("two",))],
        ),
        ({"a.b.c.png": b"a", "a.b.c.json": '{"caption": "one"}'}, [("a.b.c", b"a", ("one",))]),
        # several endings
        ({"0.image.jpg": b"a", "0.caption.txt": "one"}, [("0", b"a", ("one",))]),
        ({"0.image.jpg": b"a", "0.mask.png": b"m", "0.meta.json": '{"text": "one"}'}, [("0", b"a", ("one",))]),
        # the book's rule: what stands behind the first dot are endings of one sample
        ({"0.jpg": b"a", "0.txt": "one", "0.seg.png": b"m", "0.seg.json": '{"area": 4}'}, [("0", b"a", ("one",))]),
        (
            {"0.bmp": b"a", "0.txt": "one", "1.gif": b"b", "1.txt": "two"},
            [("0", b"a", ("one",)), ("1", b"b", ("two",))],
        ),
        # img2dataset: a caption of many lines is whole in the .json
        (
            {"0.jpg": b"a", "0.txt": "one\ncat\n", "0.json": '{"caption": "one\\ncat", "width": 4}'},
            [("0", b"a", ("one\ncat",))],
        ),
        ({"0.jpg": b"a", "0.txt": "one\ntwo", "0.json": '{"width": 4}'}, [("0", b"a", ("one", "two"))]),
        ({"0.jpg": b"a", "0.txt": "one", "0.json": '{"caption": "two"}'}, [("0", b"a", ("one",))]),
        # marks at which Python parts lines, and accents composed in two ways
        ({"0.jpg": b"a", "0.txt": "one\u2028\x85\x0bcat\r\ntwo"}, [("0", b"a", ("one\u2028\x85\x0bcat", "two"))]),
        ({"caf\u00e9.jpg": b"a", "cafe\u0301.txt": "one"}, [("caf\u00e9", b"a", ("one",))]),
    ],
)
def test_names_with_dots_and_texts_of_lines(
    members: dict[str, bytes | str], expected: list[tuple[str, bytes, tuple[str, ...]]], tmp_path: Path
) -> None:
    for order in (members, dict(reversed(members.items()))):
        dataset = read_dataset(write_tar(tmp_path / "x.tar", order))
        assert dataset.oddities == ()
        found = [(one.id.removeprefix("x/"), one.image(), one.texts) for one in dataset.examples]
        assert sorted(found) == sorted(expected)


def test_of_several_pictures_none_is_guessed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"0.left.jpg": b"a", "0.right.jpg": b"b", "0.txt": "one", "1.txt": "two"})
    problems = [odd.problem for odd in read_dataset(path).oddities]
    expected = ": give each sample one, such as a jpg, png or webp"
    assert problems == [f"has 2 images{expected}", f"has no image, only txt{expected}"]

"""Photos with text files of the same name: lines, endings, marks, and what lacks its other half."""

from pathlib import Path

from picscribe.datasets import read_dataset
from picscribe.datasets.formats.caption_files import CAPTION_FILES


def write(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_each_line_is_a_caption(tmp_path: Path) -> None:
    write(tmp_path, a__jpg=b"", a__txt=b"\xef\xbb\xbf one dog \r\n\r\ntwo dogs\r\n")
    write(tmp_path / "deep" / "er", b__PNG=b"", b__caption="café".encode())
    dataset = read_dataset(tmp_path)
    assert (dataset.format, dataset.task, dataset.oddities) == ("caption-files", "captions", ())
    assert [(one.id, one.texts) for one in dataset.examples] == [
        ("a.jpg", ("one dog", "two dogs")),
        ("deep/er/b.PNG", ("café",)),
    ]
    assert dataset.examples[0].where == str(tmp_path / "a.txt")


def test_folders_may_be_splits_and_photos_elsewhere(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / "texts" / split, a__txt=b"x")
        write(tmp_path / "photos" / split, a__jpg=b"")
    dataset = CAPTION_FILES.read(tmp_path / "texts", tmp_path / "photos")
    assert dataset.splits == {"test": 1, "train": 1}
    assert dataset.select("test")[0].source == tmp_path / "photos" / "test" / "a.jpg"


def test_halves_and_empty_texts_are_odd(tmp_path: Path) -> None:
    write(tmp_path, a__jpg=b"", a__txt=b"x", b__jpg=b"", c__txt=b"x", d__jpg=b"", d__txt=b" \n", e__jpg=b"")
    write(tmp_path, e__txt=b"x", e__caption=b"y", f__jpg=b"", f__txt=b"\xff\xfe")
    problems = {Path(odd.where).name: odd.problem for odd in read_dataset(tmp_path).oddities}
    assert set(problems) == {"b.jpg", "c.txt", "d.txt", "e.txt", "f.txt"}
    assert "no b.txt or b.caption" in problems["b.jpg"]
    assert "no photo" in problems["c.txt"]
    assert "is empty" in problems["d.txt"]
    assert "both e.txt and e.caption" in problems["e.txt"]
    assert "UTF-8" in problems["f.txt"]


def test_photos_alone_or_texts_alone_are_something_else(tmp_path: Path) -> None:
    write(tmp_path / "photos", a__jpg=b"")
    write(tmp_path / "texts", a__txt=b"")
    for name in ("photos", "texts", "nowhere"):
        assert not CAPTION_FILES.fits(tmp_path / name)


def test_videos_with_texts_are_videos(tmp_path: Path) -> None:
    write(
        tmp_path / "train", a__mp4=b"", a__txt=b"one\ntwo\n", b__MOV=b"", b__caption=b"three", c__webm=b"", d__txt=b"x"
    )
    write(tmp_path, cover__jpg=b"")  # without a text, so none of the data
    dataset = read_dataset(tmp_path)
    assert (dataset.format, dataset.medium) == ("caption-files", "videos")
    assert [(one.id, one.texts, one.split) for one in dataset.examples] == [
        ("train/a.mp4", ("one", "two"), "train"),
        ("train/b.MOV", ("three",), "train"),
    ]
    problems = {Path(odd.where).name: odd.problem for odd in dataset.oddities}
    assert set(problems) == {"c.webm", "d.txt"}
    assert "no video" in problems["d.txt"]
    write(tmp_path, cover__txt=b"a cover")
    assert read_dataset(tmp_path).medium == "images"


def test_old_cameras_and_spreadsheets_write_capitals(tmp_path: Path) -> None:
    write(tmp_path / "Train", UP__JPG=b"", UP__TXT=b"a dog")
    write(tmp_path / "VAL", b__JPG=b"", b__TXT=b"a cat")
    dataset = read_dataset(tmp_path)
    assert ([one.texts for one in dataset.examples], dataset.oddities) == ([("a dog",), ("a cat",)], ())
    assert dataset.splits == {"train": 1, "val": 1}


def test_a_caption_keeps_the_marks_at_which_python_parts_lines(tmp_path: Path) -> None:
    """Copied from a web page or a PDF, a caption holds U+2028, U+0085, a form feed."""
    marks = ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e")
    for number, mark in enumerate(marks):
        write(tmp_path, **{f"{number}__jpg": b"", f"{number}__txt": f"one{mark}dog\r\ntwo dogs\n".encode()})
    assert [one.texts for one in read_dataset(tmp_path).examples] == [(f"one{mark}dog", "two dogs") for mark in marks]

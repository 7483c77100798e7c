"""Hugging Face's imagefolder: both kinds of metadata, its columns, its splits."""

import json
from pathlib import Path
from typing import Any

import pytest

from picscribe.datasets import missing_files, read_dataset
from picscribe.datasets.formats.image_folder import IMAGE_FOLDER
from picscribe.errors import InputError


def jsonl(folder: Path, *rows: dict[str, Any], end: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.jsonl").write_bytes("".join(json.dumps(row) + end for row in rows).encode())
    return folder


@pytest.mark.parametrize("column", ["text", "caption", "sentence"])
def test_captions_in_json_lines(column: str, tmp_path: Path) -> None:
    jsonl(tmp_path, {"file_name": "a.jpg", column: " A dog "}, {"file_name": "deep/b.jpg", column: "B"}, end="\r\n\r\n")
    (tmp_path / "a.jpg").touch()
    for path in (tmp_path, tmp_path / "metadata.jsonl"):
        dataset = read_dataset(path)
        assert (dataset.format, dataset.task, dataset.oddities) == ("imagefolder", "captions", ())
        assert [(one.id, one.texts) for one in dataset.examples] == [("a.jpg", ("A dog",)), ("deep/b.jpg", ("B",))]
        assert [odd.where for odd in missing_files(dataset.examples)] == [f"{tmp_path / 'metadata.jsonl'}: line 3"]


def test_captions_in_csv_with_mark_quotes_and_windows_lines(tmp_path: Path) -> None:
    table = '\ufefffile_name,text\r\na.jpg,"one, ""two"""\r\nb.jpg,three\r\n'
    (tmp_path / "metadata.csv").write_bytes(table.encode())
    dataset = read_dataset(tmp_path)
    assert [one.texts for one in dataset.examples] == [('one, "two"',), ("three",)]
    assert dataset.examples[1].where.endswith("metadata.csv: line 3")


def test_splits_are_folders_with_metadata_each(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        jsonl(tmp_path / split, {"file_name": "a.jpg", "caption": split})
    dataset = read_dataset(tmp_path)
    assert dataset.splits == {"train": 1, "validation": 1}
    assert [one.id for one in dataset.examples] == ["train/a.jpg", "validation/a.jpg"]


def test_splits_by_folder_of_the_photo_or_by_column(tmp_path: Path) -> None:
    jsonl(tmp_path / "a", {"file_name": "train/a.jpg", "text": "x"}, {"file_name": "test/a.jpg", "text": "x"})
    assert read_dataset(tmp_path / "a").splits == {"train": 1, "test": 1}
    jsonl(tmp_path / "b", {"file_name": "train/a.jpg", "text": "x", "split": "val"})
    assert read_dataset(tmp_path / "b").splits == {"val": 1}


def test_rows_of_one_photo_are_one_example_and_lists_are_many_captions(tmp_path: Path) -> None:
    rows = [{"file_name": "a.jpg", "caption": "1"}, {"file_name": "b.jpg", "caption": ["2", "3"]}]
    jsonl(tmp_path, *rows, {"file_name": "a.jpg", "caption": "4"})
    dataset = read_dataset(tmp_path)
    assert [one.texts for one in dataset.examples] == [("1", "4"), ("2", "3")]
    assert dataset.oddities == ()


def test_questions_and_labels(tmp_path: Path) -> None:
    asked = {"file_name": "a.jpg", "question": "what?", "answers": ["x", "y"], "question_id": 5}
    (question,) = read_dataset(jsonl(tmp_path / "q", asked)).examples
    assert (question.id, question.question, question.texts) == ("5", "what?", ("x", "y"))
    labelled = jsonl(tmp_path / "l", {"file_name": "a.jpg", "label": 1}, {"file_name": "b.jpg", "label": "dog"})
    (labelled / "labels.json").write_text('{"1": "cat"}')
    dataset = read_dataset(labelled)
    assert dataset.task == "labels"
    assert [one.texts for one in dataset.examples] == [("cat",), ("dog",)]


def test_photos_may_be_elsewhere(tmp_path: Path) -> None:
    jsonl(tmp_path / "meta", {"file_name": "a.jpg", "text": "x"})
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    dataset = read_dataset(tmp_path / "meta", tmp_path / "photos")
    assert missing_files(dataset.examples) == []


def test_photos_that_no_row_names_are_told_of(tmp_path: Path) -> None:
    jsonl(tmp_path, {"file_name": "a.jpg", "text": "A dog"}, {"file_name": "deep/b.jpg", "text": "B"})
    for name in ("a.jpg", "deep/b.jpg", "deep/c.JPG", "d.png", "._d.png", "notes.txt", "else/e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    left_out = f"images that the metadata does not name, left out: 2, such as {tmp_path / 'd.png'}"
    assert read_dataset(tmp_path).notes == (left_out,)
    assert read_dataset(tmp_path, tmp_path).notes == (), "photos that are elsewhere may be others' too"
    (tmp_path / "d.png").unlink()
    (tmp_path / "deep" / "c.JPG").unlink()
    assert read_dataset(tmp_path).notes == ()


def test_a_folder_without_metadata_is_something_else(tmp_path: Path) -> None:
    assert not IMAGE_FOLDER.fits(tmp_path)
    assert not IMAGE_FOLDER.fits(tmp_path / "nowhere")


def test_videos_may_be_named_too_but_not_beside_photos(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,text\na.mp4,one\nb.MOV,two\n")
    dataset = read_dataset(tmp_path)
    assert (dataset.medium, dataset.task, len(dataset.examples)) == ("videos", "captions", 2)
    (tmp_path / "metadata.csv").write_text("file_name,question,answer\na.mp4,what?,one\n")
    assert (read_dataset(tmp_path).medium, read_dataset(tmp_path).task) == ("videos", "questions")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.mp4,one\nb.jpg,two\n")
    with pytest.raises(InputError, match="names both photos and videos"):
        read_dataset(tmp_path)


def test_a_photo_may_be_asked_about_in_several_rows(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,question,answer\na.jpg,what?,a cat\na.jpg,where?,a mat\n")
    dataset = read_dataset(tmp_path)
    assert [(one.id, one.question, one.texts) for one in dataset.examples] == [
        ("a.jpg", "what?", ("a cat",)),
        ("a.jpg/2", "where?", ("a mat",)),
    ]


def test_headers_as_spreadsheets_write_them(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes(b"\xef\xbb\xbfFile Name,Text\r\na.jpg,a cat\r\n")
    assert [one.texts for one in read_dataset(tmp_path).examples] == [("a cat",)]
    (tmp_path / "metadata.csv").write_text("file_name;text\na.jpg;a cat\n")
    with pytest.raises(InputError, match="separated by semicolons: save it with commas"):
        read_dataset(tmp_path)

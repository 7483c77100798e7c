"""Parquet tables: every kind of image column and text, names of labels, and one photo in memory at a time."""

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from picscribe.datasets import missing_files, read_dataset
from picscribe.datasets.parquet import PARQUET
from picscribe.errors import InputError, MissingPackageError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

PHOTOS = [f"photo {number}".encode() * 50 for number in range(7)]


def write_table(path: Path, columns: dict[str, Any], group: int = 3, features: Any = None, page: int = 1024) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path, row_group_size=group, write_batch_size=page)
    return path


def packed() -> list[dict[str, Any]]:
    return [{"bytes": photo, "path": f"{number}.jpg"} for number, photo in enumerate(PHOTOS)]


@pytest.mark.parametrize("image", [PHOTOS, packed()], ids=["bytes", "struct"])
@pytest.mark.parametrize(
    ("column", "texts"),
    [
        ("caption", [f" text {number}" for number in range(7)]),
        ("sentences", [[f"text {number}"] for number in range(7)]),
        ("captions", [[{"raw": f"text {number}"}] for number in range(7)]),
    ],
)
def test_photos_and_captions(image: list[Any], column: str, texts: list[Any], tmp_path: Path) -> None:
    path = write_table(tmp_path / "data" / "train-00000-of-00001.parquet", {"image": image, column: texts})
    for place in (path, tmp_path):
        dataset = read_dataset(place)
        assert (dataset.format, dataset.task, dataset.oddities) == ("parquet", "captions", ())
        assert dataset.splits == {"train": 7}
        assert [example.texts for example in dataset.examples] == [(f"text {number}",) for number in range(7)]
        assert [example.image() for example in dataset.examples] == PHOTOS
        assert dataset.examples[4].id.endswith("train-00000-of-00001/4")
        assert dataset.examples[4].where == f"{path}: row 4"


@pytest.mark.parametrize("group", [3, 7])
@pytest.mark.parametrize("order", [range(6, -1, -1), [3, 0, 6, 6, 1, 5, 2]])
def test_photos_in_any_order_and_from_threads(
    order: Any, group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("picscribe.datasets.parquet.BATCH", 2)
    path = write_table(tmp_path / "x.parquet", {"image": packed(), "text": ["x"] * 7, "id": list(range(7))}, group)
    examples = read_dataset(path).examples
    assert [examples[index].image() for index in order] == [PHOTOS[index] for index in order]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda index: examples[index].image(), [*order] * 5)) == [PHOTOS[k] for k in order] * 5


def test_paths_are_beside_the_table_or_elsewhere(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.parquet", {"image": ["a.jpg", "../b.jpg", None], "text": ["x", "y", "z"]})
    (tmp_path / "a.jpg").touch()
    dataset = read_dataset(path)
    assert [odd.where for odd in dataset.oddities] == [f"{path}: row 1", f"{path}: row 2"]
    assert missing_files(dataset.examples) == []
    assert read_dataset(path, tmp_path / "photos").examples[0].source == tmp_path / "photos" / "a.jpg"


def test_names_of_labels_are_in_the_schema_or_beside(tmp_path: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    columns = {"image": packed()[:3], "label": [1, 0, 1]}
    named = read_dataset(write_table(tmp_path / "a" / "test.parquet", columns, features=features))
    assert (named.task, [example.texts for example in named.examples]) == ("labels", [("dog",), ("cat",), ("dog",)])
    path = write_table(tmp_path / "b" / "test.parquet", columns)
    (tmp_path / "b" / "labels.json").write_text('{"1": "dog"}')
    assert [example.texts for example in read_dataset(path).examples] == [("dog",), ("dog",)]
    (odd,) = read_dataset(path).oddities
    assert "0, a number without a name" in odd.problem


def test_questions_their_ids_and_a_column_of_splits(tmp_path: Path) -> None:
    columns = {
        "image": packed()[:3],
        "question": ["a?", "b?", "c?"],
        "answers": [["x", "y"], ["z"], None],
        "question_id": [5, 6, 7],
        "split": ["train", "val", "val"],
    }
    dataset = read_dataset(write_table(tmp_path / "x.parquet", columns))
    assert (dataset.task, dataset.splits) == ("questions", {"train": 1, "val": 2})
    assert [(one.id, one.question, one.texts) for one in dataset.examples] == [
        ("5", "a?", ("x", "y")),
        ("6", "b?", ("z",)),
        ("7", "c?", ()),
    ]


def test_odd_rows(tmp_path: Path) -> None:
    columns = {"image": packed()[:4], "caption": ["x", None, " ", "y"], "image_id": [1, 2, 3, 1]}
    dataset = read_dataset(write_table(tmp_path / "x.parquet", columns))
    assert [odd.where.rpartition(" ")[2] for odd in dataset.oddities] == ["1", "2", "3"]
    assert ["missing" in odd.problem for odd in dataset.oddities] == [True, False, False]
    assert "'1' was there before" in dataset.oddities[2].problem


def test_a_cell_without_an_image_is_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.parquet", {"image": [packed()[0], None], "caption": ["x", "y"]})
    with pytest.raises(InputError, match=r"x\.parquet: row group 0, row 1, image: holds no image"):
        read_dataset(path).examples[1].image()


def test_a_table_that_has_gone_is_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.parquet", {"image": packed(), "caption": ["x"] * 7})
    (example, *_) = read_dataset(path).examples
    path.unlink()
    with pytest.raises(InputError, match=r"x\.parquet"):
        example.image()


@pytest.fixture
def large_table(tmp_path: Path) -> Path:
    """60 MB of photos in one row group, as pandas writes a table, in pages of 4: less than a page cannot be decoded."""
    photos = [os.urandom(1 << 20) for _ in range(60)]
    return write_table(tmp_path / "x.parquet", {"image": photos, "caption": ["x"] * 60}, group=60, page=4)


def test_gigabytes_stay_in_their_table(large_table: Path) -> None:
    pool = pyarrow.default_memory_pool()
    before, most = pool.bytes_allocated(), 0
    for example in read_dataset(large_table).examples:
        assert len(example.image()) == 1 << 20
        most = max(most, pool.bytes_allocated() - before)
    assert 0 < most < 40 << 20


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux shows them")
def test_few_files_are_open(tmp_path: Path) -> None:
    for number in range(30):
        write_table(tmp_path / f"{number:02}.parquet", {"image": packed(), "caption": ["x"] * 7})
    examples = read_dataset(tmp_path).examples
    before = len(list(_open_files()))
    for example in examples:
        example.image()
    assert len(examples) == 210
    assert len(list(_open_files())) <= before + 2


def _open_files() -> Iterator[str]:
    yield from os.listdir("/proc/self/fd")


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "x.parquet", {"image": packed(), "caption": ["x"] * 7})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert PARQUET.fits(path)
    with pytest.raises(MissingPackageError, match=r'pip install "picscribe\[data\]"'):
        read_dataset(path)

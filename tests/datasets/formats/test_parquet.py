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
from picscribe.datasets.formats.parquet import PARQUET
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
    monkeypatch.setattr("picscribe.datasets.formats.parquet.BATCH", 2)
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
    assert "'1' is there twice" in dataset.oddities[2].problem


def test_a_cell_without_an_image_is_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.parquet", {"image": [packed()[0], None], "caption": ["x", "y"]})
    with pytest.raises(InputError, match=r"x\.parquet: row group 0, row 1, image: has no image"):
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


def columns_of_photos() -> dict[str, Any]:
    """The same three photos in every type that a column of them has."""
    raw = PHOTOS[:3]
    pairs = pyarrow.array([{"bytes": one, "path": None} for one in raw])
    columns = {
        "large": pyarrow.array(raw, pyarrow.large_binary()),
        "fixed": pyarrow.array(raw, pyarrow.binary(len(raw[0]))),
        "dictionary": pyarrow.array(raw).dictionary_encode(),
        "list": pyarrow.array([[one] for one in raw]),
        "fixed list": pyarrow.array([[one] for one in raw], pyarrow.list_(pyarrow.binary(), 1)),
        "large list of pairs": pyarrow.array(
            [[{"bytes": one, "path": None}] for one in raw], pyarrow.large_list(pairs.type)
        ),
        "list of bytes": pyarrow.array([list(one) for one in raw], pyarrow.list_(pyarrow.uint8())),
        "fixed list of bytes": pyarrow.array([list(one) for one in raw], pyarrow.list_(pyarrow.uint8(), len(raw[0]))),
        "large pair": pyarrow.array(
            [{"bytes": one, "path": ""} for one in raw],
            pyarrow.struct({"bytes": pyarrow.large_binary(), "path": pyarrow.large_string()}),
        ),
    }
    if hasattr(pyarrow, "binary_view"):
        columns["view"] = pyarrow.array(raw, pyarrow.binary_view())
        columns["pair of views"] = pyarrow.array(
            [{"bytes": one, "path": ""} for one in raw],
            pyarrow.struct({"bytes": pyarrow.binary_view(), "path": pyarrow.string_view()}),
        )
    return columns


@pytest.mark.parametrize("kind", columns_of_photos())
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_photos_in_every_type_of_column(kind: str, nested: bool, form: str, tmp_path: Path) -> None:
    column, texts = columns_of_photos()[kind], pyarrow.array(["a", "b", "c"]).dictionary_encode()
    columns = {"image": column, "caption": texts}
    if nested:
        columns = {"data": pyarrow.StructArray.from_arrays([column, texts], ["image", "caption"]), "n": [1, 2, 3]}
    try:
        path = write_table(tmp_path / "x.parquet", columns, 2) if form == "parquet" else write_arrow(tmp_path, columns)
    except pyarrow.ArrowNotImplementedError as error:
        pytest.skip(f"pyarrow writes no such table: {error}")
    dataset = read_dataset(path)
    assert dataset.oddities == ()
    for _ in range(2):  # there and back again
        assert [example.image() for example in dataset.examples] == PHOTOS[:3]
    assert [example.texts for example in dataset.examples] == [("a",), ("b",), ("c",)]


def write_arrow(folder: Path, columns: dict[str, Any], split: str | None = None, parts: int = 1) -> Path:
    """As `Dataset.save_to_disk` of Hugging Face's datasets writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    table, names = pyarrow.table(columns), []
    for part in range(parts):
        names.append(f"data-{part:05}-of-{parts:05}.arrow")
        rows = -(-table.num_rows // parts)
        with (
            pyarrow.OSFile(str(folder / names[-1]), "wb") as sink,
            pyarrow.ipc.new_stream(sink, table.schema) as writer,
        ):
            writer.write_table(table.slice(part * rows, rows), max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names], "_split": split}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize(
    "kind", ["null bytes", "paths alone", "strings", "large strings", "views", "lists", "some bytes"]
)
def test_photos_beside_the_table(kind: str, form: str, tmp_path: Path) -> None:
    names = ["a.jpg", "sub/b.jpg", "c.jpg"]
    for name, photo in zip(names, PHOTOS, strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo)
    pair = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    cells = [{"bytes": None, "path": name} for name in names]
    if kind == "views" and not hasattr(pyarrow, "string_view"):
        pytest.skip("this pyarrow has no views")
    column = {
        "null bytes": lambda: pyarrow.array(cells, pair),
        "paths alone": lambda: pyarrow.array([{"path": name} for name in names]),
        "strings": lambda: pyarrow.array(names).dictionary_encode(),
        "large strings": lambda: pyarrow.array(names, pyarrow.large_string()),
        "views": lambda: pyarrow.array(names, pyarrow.string_view()),
        "lists": lambda: pyarrow.array([[cell] for cell in cells], pyarrow.list_(pair)),
        "some bytes": lambda: pyarrow.array([{"bytes": PHOTOS[0], "path": "gone.jpg"}, *cells[1:]], pair),
    }[kind]()
    columns = {"image": column, "caption": ["a", "b", "c"]}
    path = write_table(tmp_path / "x.parquet", columns) if form == "parquet" else write_arrow(tmp_path, columns)
    examples = read_dataset(path).examples
    found = [example.image() for example in examples]
    assert [one.read_bytes() if isinstance(one, Path) else one for one in found] == PHOTOS[:3]
    if kind != "some bytes" and (kind, form) != ("lists", "arrow"):
        assert [example.source for example in examples] == [tmp_path / name for name in names]
        (tmp_path / "c.jpg").unlink()
        assert len(missing_files(examples)) == 1
    photos = tmp_path / "elsewhere"
    (tmp_path / "sub").rename(photos)
    (photos / "sub").mkdir()
    (photos / "b.jpg").rename(photos / "sub" / "b.jpg")
    found = [read_dataset(path, photos).examples[1].image()]
    assert [one.read_bytes() if isinstance(one, Path) else one for one in found] == PHOTOS[1:2]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([{"bytes": None, "path": "../out.jpg"}, {"bytes": b"x", "path": None}], "inside the folder of images"),
        (
            [{"bytes": None, "path": "gone.jpg"}, {"bytes": b"x", "path": None}],
            r"gone\.jpg cannot be read \(No such file",
        ),
        ([{"bytes": None, "path": None}, {"bytes": b"x", "path": None}], "has neither bytes nor a path"),
        ([{"bytes": b"", "path": None}, {"bytes": b"x", "path": None}], "has neither bytes nor a path"),
        ([[b"x", b"y"], [b"x"]], "is a list of 2 photos: give one photo per row"),
        ([[], [b"x"]], "is a list of 0 photos"),
        ([[1000], [1]], "is a list of numbers that are not bytes"),
    ],
)
def test_a_cell_that_is_no_photo_is_named(cells: list[Any], message: str, tmp_path: Path) -> None:
    columns = {"image": cells, "caption": ["a", "b"]}
    for path in (write_table(tmp_path / "x.parquet", columns), write_arrow(tmp_path / "arrow", columns)):
        with pytest.raises(InputError, match=rf"row 0, image: .*{message}"):
            read_dataset(path).examples[0].image()


def test_folders_that_datasets_saved(tmp_path: Path) -> None:
    for split, texts in (("train", ["a", "b", "c", "d", "e"]), ("my-test", ["f", "g"])):
        photos = [{"bytes": photo, "path": None} for photo in PHOTOS[: len(texts)]]
        write_arrow(tmp_path / "all" / split, {"image": photos, "caption": texts}, split, parts=2)
    (tmp_path / "all" / "dataset_dict.json").write_text('{"splits": ["train", "my-test"]}')
    dataset = read_dataset(tmp_path / "all")
    assert (dataset.format, dataset.oddities, dataset.splits) == ("arrow-folder", (), {"my-test": 2, "train": 5})
    assert [example.texts[0] for example in dataset.select("train")] == list("abcde")
    assert [example.image() for example in dataset.select("train")] == PHOTOS[:5]
    assert read_dataset(tmp_path / "all" / "train").splits == {"train": 5}
    (tmp_path / "all" / "train" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(InputError, match=r"lacks data-00001-of-00002\.arrow, which state\.json lists"):
        read_dataset(tmp_path / "all")


@pytest.mark.parametrize("content", [b"", b"no arrow", b"ARROW1\0\0", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_broken_arrow_file_is_named(content: bytes, tmp_path: Path) -> None:
    folder = write_arrow(tmp_path, {"image": PHOTOS, "caption": ["x"] * 7})
    (folder / "data-00000-of-00001.arrow").write_bytes(content)
    named = "Git LFS pointer" if b"lfs" in content else "is not an Arrow file that can be read"
    with pytest.raises(InputError, match=rf"data-00000-of-00001\.arrow: .*({named}|holds no rows)"):
        read_dataset(folder)


def test_numbered_labels_of_a_saved_folder(tmp_path: Path) -> None:
    folder = write_arrow(tmp_path, {"image": PHOTOS[:2], "label": [1, 0]})
    (folder / "dataset_info.json").write_text(
        '{"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}'
    )
    assert [example.texts for example in read_dataset(folder).examples] == [("dog",), ("cat",)]

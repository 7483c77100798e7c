"""The original code's TSVs: pairs by name, indexes used and checked, and no image held in memory."""

import base64
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picscribe.datasets import read_dataset
from picscribe.datasets.examples import FileSlice
from picscribe.datasets.formats.tsv import TSV
from picscribe.datasets.formats.tsv_images import read_images
from picscribe.errors import InputError


def rows_of(images: dict[str, bytes], end: bytes = b"\n") -> list[bytes]:
    return [key.encode() + b"\t" + base64.b64encode(content) + end for key, content in images.items()]


def offsets(rows: Sequence[bytes]) -> list[int]:
    return [sum(map(len, rows[:number])) for number in range(len(rows))]


def write_images(path: Path, images: dict[str, bytes], end: bytes = b"\n", index: str = "") -> Path:
    rows = rows_of(images, end)
    path.write_bytes(b"".join(rows))
    if index == ".lineidx":
        path.with_suffix(index).write_text("".join(f"{start}\n" for start in offsets(rows)))
    elif index:
        path.with_suffix(index).write_bytes(b"".join(start.to_bytes(8, "little") for start in offsets(rows)))
    return path


def write_texts(path: Path, rows: dict[str, Any], end: str = "\n") -> Path:
    path.write_bytes("".join(f"{key}\t{json.dumps(value)}{end}" for key, value in rows.items()).encode())
    return path


PHOTOS = {"42": b"\xff\xd8 one" * 30, "7": b"\x89PNG two" * 31, "9": b"RIFF" * 100}
CAPTIONS = {key: [{"caption": f" photo {key} "}, {"caption": "another"}] for key in PHOTOS}


@pytest.mark.parametrize("index", ["", ".lineidx", ".lineidx.8b"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["test.img.tsv", "test.tsv"])
def test_captions_and_images_belong_together_by_name(index: str, end: str, name: str, tmp_path: Path) -> None:
    image_file = write_images(tmp_path / name, PHOTOS, end.encode(), index)
    texts = write_texts(tmp_path / "test.caption.tsv", CAPTIONS, end)
    for path in (texts, image_file, tmp_path):
        assert TSV.fits(path)
        dataset = read_dataset(path)
        assert (dataset.format, dataset.task, dataset.oddities) == ("tsv", "captions", ())
        assert dataset.splits == {"test": 3}
        assert [example.id for example in dataset.examples] == list(PHOTOS)
        assert dataset.examples[0].texts == ("photo 42", "another")
        assert dataset.examples[1].where == f"{texts}: line 2"
        assert [example.image() for example in dataset.examples] == list(PHOTOS.values())


def test_questions_take_their_own_ids_and_share_their_image(tmp_path: Path) -> None:
    image_file = write_images(tmp_path / "elsewhere.tsv", PHOTOS)
    asked = [
        {"question_id": 1, "question": "what?", "answers": ["a cat", "cat"]},
        {"question_id": 2, "question": "how many?", "answers": [{"answer": "2"}]},
    ]
    rows = {"42": asked, "7": [{"question_id": 3, "question": "why?"}], "9": [{"question_id": 4, "question": "x"}]}
    dataset = read_dataset(write_texts(tmp_path / "val.question.tsv", rows), image_file)
    assert (dataset.task, dataset.oddities) == ("questions", ())
    assert [(one.id, one.question, one.texts) for one in dataset.examples[:3]] == [
        ("1", "what?", ("a cat", "cat")),
        ("2", "how many?", ("2",)),
        ("3", "why?", ()),
    ]
    assert dataset.examples[0].source == dataset.examples[1].source
    assert dataset.splits == {"val": 4}


def test_several_splits_of_a_folder(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val")):
        write_images(tmp_path / f"{split}.img.tsv", {str(number): b"x" * 60})
        write_texts(tmp_path / f"{split}.caption.tsv", {str(number): [{"caption": split}]})
    assert read_dataset(tmp_path).splits == {"train": 1, "val": 1}


def test_a_key_in_one_file_only_is_odd(tmp_path: Path) -> None:
    image_file = write_images(tmp_path / "test.img.tsv", PHOTOS)
    texts = write_texts(tmp_path / "test.caption.tsv", {"42": CAPTIONS["42"], "8": CAPTIONS["7"], "9": []})
    dataset = read_dataset(texts)
    assert [str(oddity) for oddity in dataset.oddities] == [
        f"{texts}: line 2: the key '8' is not in test.img.tsv: add the image, or remove the row",
        f"{texts}: line 3: caption is empty: give at least one text, or remove the row",
        f"{image_file}: 7: has no row in test.caption.tsv: add one, or remove the image",
    ]
    assert [example.id for example in dataset.examples] == ["42"]


@given(
    rows=st.lists(st.tuples(st.text("abç", min_size=1), st.binary(min_size=1, max_size=40)), max_size=8),
    end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    block=st.integers(1, 50),
)
def test_rows_are_found_as_splitting_the_whole_file_finds_them(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, bytes]],
    end: bytes,
    last: bool,
    block: int,
) -> None:
    content = end.join(key.encode() + b"\t" + base64.b64encode(image) for key, image in rows) + (end if last else b"")
    path = tmp_path_factory.mktemp("tsv") / "x.tsv"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("picscribe.datasets.formats.tsv_images.BLOCK", block)
        found = [slice for _, slice in read_images(path)]
    oracle = [line.split(b"\t") for line in content.splitlines() if line]
    assert [(one.name, one.read()) for one in found if isinstance(one, FileSlice)] == [
        (key.decode(), base64.b64decode(image)) for key, image in oracle
    ]
    assert len(found) == len(oracle)


def test_an_index_is_used_instead_of_reading_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_images(tmp_path / "test.img.tsv", PHOTOS, index=".lineidx.8b")

    def fail(path: Path) -> None:
        raise AssertionError("read through")

    monkeypatch.setattr("picscribe.datasets.formats.tsv_images._scan", fail)
    assert len(list(read_images(path))) == 3


def test_an_index_that_lacks_a_row_is_noticed_when_the_image_is_read(tmp_path: Path) -> None:
    path = write_images(tmp_path / "test.img.tsv", PHOTOS)
    starts = offsets(rows_of(PHOTOS))
    (tmp_path / "test.img.lineidx").write_text(f"{starts[0]}\n{starts[2]}\n")
    (_, first), _ = read_images(path)
    assert isinstance(first, FileSlice)
    with pytest.raises(InputError, match=r"test\.img\.tsv: 42: is not base64"):
        first.read()


@pytest.mark.parametrize("index", ["", ".lineidx.8b"])
def test_gigabytes_stay_in_their_file(index: str, tmp_path: Path) -> None:
    path = tmp_path / "test.img.tsv"
    image = base64.b64encode(bytes(3 << 20))
    starts = []
    with path.open("wb") as stream:
        for number in range(15):
            starts.append(stream.tell())
            stream.write(b"%d\t%s\n" % (number, image))
    assert path.stat().st_size > 60 << 20
    if index:
        path.with_suffix(index).write_bytes(b"".join(start.to_bytes(8, "little") for start in starts))
    texts = write_texts(tmp_path / "test.caption.tsv", {str(number): [{"caption": "x"}] for number in range(15)})
    tracemalloc.start()
    try:
        dataset = read_dataset(texts)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(dataset.examples) == 15
    assert peak < (4 << 20)
    assert dataset.examples[14].image() == bytes(3 << 20)

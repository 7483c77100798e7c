"""Files that Git LFS has not fetched: each form of data set names the pointer and the remedy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from picscribe.datasets import read_dataset
from picscribe.errors import InputError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 706000000\n"
NAMES = [
    *("dataset.json", "captions.json", "train.parquet", "00000.tar", "metadata.csv", "metadata.jsonl"),
    *("x.token", "captions.txt"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("whole_folder", [False, True])
def test_a_pointer_is_called_one(name: str, whole_folder: bool, write: Callable[..., Path]) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    file = write(f"data/{name}", POINTER)
    with pytest.raises(InputError, match=rf"{name}: .*is a Git LFS pointer.*git lfs pull"):
        dataset = read_dataset(file.parent if whole_folder else file)
        dataset.select(None)


def test_a_pointer_is_nobodys_caption(write: Callable[..., Path]) -> None:
    photo = write("data/a.jpg", b"x")
    write("data/a.txt", POINTER)
    dataset = read_dataset(photo.parent)
    assert not dataset.examples
    assert "is a Git LFS pointer" in dataset.oddities[0].problem


def test_the_tsvs_of_the_original(write: Callable[..., Path]) -> None:
    write("data/test.img.tsv", POINTER)
    texts = write("data/test.caption.tsv", '1\t[{"caption": "a dog"}]\n')
    with pytest.raises(InputError, match=r"test\.img\.tsv: is a Git LFS pointer"):
        read_dataset(texts.parent)
    write("data/test.img.tsv", "1\t" + "A" * 40 + "\n")
    write("data/test.caption.tsv", POINTER)
    with pytest.raises(InputError, match=r"test\.caption\.tsv: .*is a Git LFS pointer"):
        read_dataset(texts)

"""What is counted of a data set, and what is called odd."""

from pathlib import Path

import pytest

from picscribe.datasets import Dataset, Example, FileSlice, Oddity
from picscribe.datasets.inspection import Spread, inspect_dataset


def example(name: str, *texts: str, split: str = "", question: str = "", image: str = "") -> Example:
    source = FileSlice(Path("x.tar"), 0, 1, image or name)
    return Example(name, source, texts, question, split, where=f"row {name}")


def test_counts() -> None:
    dataset = Dataset(
        Path("x"),
        "tsv",
        "captions",
        (
            example("1", "A dog", "a  DOG", "two dogs run", split="train"),
            example("2", "one", split="train"),
            example("3", "a b c d e", "a dog", split="val"),
        ),
        (Oddity("row 4", "is broken", "val"), Oddity("row 5", "is worse")),
    )
    found = inspect_dataset(dataset)
    assert {name: (one.examples, one.sources, one.texts, one.odd) for name, one in found.splits.items()} == {
        "train": (2, 2, 4, 0),
        "val": (1, 1, 2, 1),
        "": (0, 0, 0, 1),
    }
    assert found.texts_per_example == Spread(1, 2, 3)
    assert found.words == Spread(1, 2, 5)
    assert found.distinct_texts == 4
    assert found.frequent[0] == ("a dog", 3)
    assert [odd.where for odd in found.odd] == ["row 4", "row 5"]
    val = inspect_dataset(dataset, "val")
    assert (list(val.splits), val.words, len(val.odd)) == (["val", ""], Spread(2, 3.5, 5), 2)


def test_questions_share_photos() -> None:
    rows = [example(str(k), "yes", question="?", image=str(k % 2)) for k in range(30)]
    found = inspect_dataset(Dataset(Path("x"), "vqa", "questions", tuple(rows)))
    assert (found.splits[""].examples, found.splits[""].sources) == (30, 2)
    assert found.odd == ()  # answers repeat: only captions of many photos are odd
    assert found.frequent == (("yes", 30),)


@pytest.mark.parametrize(("shared", "of", "odd"), [(9, 20, 0), (10, 20, 1), (10, 1000, 1), (10, 1001, 0)])
def test_a_caption_of_many_photos_is_odd(shared: int, of: int, odd: int) -> None:
    rows = [example(str(k), "No caption " if k < shared else f"text {k}", "again") for k in range(of)]
    rows = [Example(one.id, one.source, one.texts[:1], where=one.where) for one in rows]
    found = inspect_dataset(Dataset(Path("x"), "tsv", "captions", tuple(rows)))
    assert [(one.where, one.problem) for one in found.odd] == [
        ("row 0", f"'no caption' is a caption of {shared} of {of}")
    ] * odd


def test_a_caption_twice_for_one_photo_is_not_shared() -> None:
    rows = tuple(example(str(k), *["same"] * 5) for k in range(9))
    assert inspect_dataset(Dataset(Path("x"), "tsv", "captions", rows)).odd == ()


def test_missing_files_and_nothing_at_all(tmp_path: Path) -> None:
    gone = Example("a", tmp_path / "a.jpg", (), where="row 1", split="test")
    found = inspect_dataset(Dataset(tmp_path, "vqa", "questions", (gone,)))
    assert str(found.odd[0]) == f"row 1: {tmp_path / 'a.jpg'} is not there"
    assert found.splits["test"].odd == 1
    assert found.words == Spread(0, 0, 0)

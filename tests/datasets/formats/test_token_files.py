"""Reading the text forms of Flickr8k and Flickr30k, official and Kaggle's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from picscribe.datasets import load_examples, read_dataset

Write = Callable[..., Path]

TOKENS = 'b.jpg#0\tA dog , and a cat .\nb.jpg#1\tTwo #animals\na.jpg#0\tA "child"\n'


def test_tokens_with_the_lists_of_splits(write: Write, tmp_path: Path) -> None:
    file = write("Flickr8k.token.txt", TOKENS + "c.jpg.1#0\tNowhere\n")
    write("Flickr_8k.trainImages.txt", "b.jpg\r\n")
    write("Flickr_8k.devImages.txt", "a.jpg\n\n")
    photo = write("Flicker8k_Dataset/b.jpg")
    dataset, (example,) = load_examples(file, None, "train")
    assert (dataset.format, dataset.task) == ("flickr-tokens", "captions")
    assert dataset.splits == {"train": 1, "dev": 1, "": 1}
    assert (example.id, example.source) == ("b.jpg", photo)
    assert example.texts == ("A dog , and a cat .", "Two #animals")
    assert example.where == f"{file}: line 1"


def test_tokens_without_lists_have_one_split(write: Write) -> None:
    file = write("results_20130124.token", b"\xef\xbb\xbf" + TOKENS.replace("\n", "\r\n").encode())
    write("images/a.jpg")
    write("images/b.jpg")
    assert [example.id for example in load_examples(file, None, None)[1]] == ["b.jpg", "a.jpg"]


def test_captions_between_commas(write: Write, tmp_path: Path) -> None:
    lines = [
        "image,caption",
        "a.jpg,A child in a pink dress .",
        'a.jpg,"A man , with a ""sign"" , waits ."',
        "b.jpg,A dog, running, fast",
        'b.jpg,He says "hi"',
    ]
    dataset = read_dataset(write("captions.txt", "\n".join(lines)), tmp_path)
    assert dataset.format == "caption-table"
    assert not dataset.oddities
    assert {example.id: example.texts for example in dataset.examples} == {
        "a.jpg": ("A child in a pink dress .", 'A man , with a "sign" , waits .'),
        "b.jpg": ("A dog, running, fast", 'He says "hi"'),
    }


@pytest.mark.parametrize("header", ["image_name,comment_number,comment", '"image","number","caption"'])
def test_three_columns_between_commas(header: str, write: Write, tmp_path: Path) -> None:
    file = write("captions.csv", f'{header}\na.jpg,0,"One, two"\na.jpg,1,Three, four\n')
    assert read_dataset(file, tmp_path).examples[0].texts == ("One, two", "Three, four")


def test_captions_between_bars(write: Write, tmp_path: Path) -> None:
    lines = [
        "image_name| comment_number| comment",
        "1000092795.jpg| 0| Two young guys , a | b .",
        # Kaggle's file has one such line.
        "2199200615.jpg| 4   A dog runs across the grass .",
        '1000092795.jpg| 1| Two "young" , white males',
    ]
    dataset = read_dataset(write("results.csv", "\n".join(lines)), tmp_path)
    assert {example.id: example.texts for example in dataset.examples} == {
        "1000092795.jpg": ("Two young guys , a | b .", 'Two "young" , white males'),
        "2199200615.jpg": ("A dog runs across the grass .",),
    }
    assert not dataset.oddities


def test_signs_that_are_no_line_ends_stay_in_their_caption(write: Write, tmp_path: Path) -> None:
    file = write("x.token", "a.jpg#0\tone\x0btwo\u2028three\x85four\n")
    assert read_dataset(file, tmp_path).examples[0].texts == ("one\x0btwo\u2028three\x85four",)


def test_what_a_mac_packs_beside_a_list_is_no_list(write: Write) -> None:
    file = write("Flickr8k.token.txt", "a.jpg#0\tA dog\n")
    write("Flickr_8k.testImages.txt", "a.jpg\n")
    write("._Flickr_8k.trainImages.txt", b"\x00\xff")
    assert read_dataset(file).splits == {"test": 1}

"""pycocoevalcap, Stanford's tokenizer and predictions over Flickr8k val, for tests that compare with them."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from picscribe.datasets import read_karpathy

Captions = dict[str, list[str]]


@pytest.fixture(scope="session")
def stanford() -> Callable[[list[str]], list[list[str]]]:
    """Captions → the words that pycocoevalcap's PTBTokenizer, which runs Stanford's in Java, leaves of each."""
    if shutil.which("java") is None:
        pytest.skip("Java is not here")
    tokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer()

    def tokens(captions: list[str]) -> list[list[str]]:
        by_caption = tokenizer.tokenize({number: [{"caption": caption}] for number, caption in enumerate(captions)})
        assert len(by_caption) == len(captions)
        return [line[0].split(" ") if line[0] else [] for line in by_caption.values()]

    return tokens


@pytest.fixture(scope="session")
def val_captions(flickr8k: Path) -> Captions:
    """The five captions of each of the 1,000 val images."""
    return {
        example.id: list(example.captions)
        for example in read_karpathy(flickr8k / "dataset_flickr8k.json", flickr8k / "images", "val")
    }


@pytest.fixture(scope="session", params=["human", "shuffled", "degenerate"])
def val_predictions(request: pytest.FixtureRequest, val_captions: Captions) -> tuple[dict[str, str], Captions]:
    """Predictions and references: a person's caption against the other four, another image's, and useless ones."""
    if request.param == "human":
        return {i: c[0] for i, c in val_captions.items()}, {i: c[1:] for i, c in val_captions.items()}
    if request.param == "shuffled":
        others = [captions[0] for captions in val_captions.values()]
        random.Random(1).shuffle(others)
        return dict(zip(val_captions, others, strict=True)), val_captions
    useless = [
        "",
        "   ",
        "a",
        "a a a a a a a a a a a a",
        "a dog a dog a dog a dog",
        ".",
        "dog " * 60,
        "two dogs",
        "a man in a",
    ]
    return {i: useless[number % len(useless)] for number, i in enumerate(val_captions)}, val_captions

"""pycocoevalcap, Stanford's tokenizer and predictions over Flickr8k val, for tests that compare with them."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Captions = dict[str, list[str]]

NANO = Path(__file__).parent / "data" / "flickr8k_val_nano.json"


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
    document = json.loads((flickr8k / "dataset_flickr8k.json").read_text(encoding="utf-8"))
    return {
        image["filename"]: [sentence["raw"] for sentence in image["sentences"]]
        for image in document["images"]
        if image["split"] == "val"
    }


@pytest.fixture(scope="session", params=["human", "nano", "shuffled", "degenerate"])
def val_predictions(request: pytest.FixtureRequest, val_captions: Captions) -> tuple[dict[str, str], Captions]:
    """Predictions and references: a person's caption against the other four, nano's, another image's, useless ones."""
    if request.param == "human":
        return {i: c[0] for i, c in val_captions.items()}, {i: c[1:] for i, c in val_captions.items()}
    if request.param == "nano":
        return json.loads(NANO.read_text(encoding="utf-8"))["captions"], val_captions
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

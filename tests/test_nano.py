"""The bundled model: it is there, small, complete, and says sensible things of photos it has not seen."""

import json
import random
from pathlib import Path

import pytest

import picscribe
from picscribe.checkpoints.resolve import resolve
from picscribe.datasets import CaptionedImage, read_karpathy
from picscribe.evaluation.captioning import evaluate_captions, score_captions
from picscribe.generation import GenerationOptions

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.jpg"))


@pytest.fixture(scope="module")
def nano() -> picscribe.Scribe:
    return picscribe.load()


@pytest.fixture(scope="module")
def val(flickr8k: Path) -> list[CaptionedImage]:
    return read_karpathy(flickr8k / "dataset_flickr8k.json", flickr8k / "images", "val")


def test_it_is_small_and_says_how_it_came_to_be() -> None:
    folder = resolve("nano")
    assert (folder / "model.safetensors").stat().st_size <= 25e6
    record = json.loads((folder / "training.json").read_text())
    assert record["recipe"]["seed"] >= 0
    assert record["versions"]["torch"]
    assert (folder / "README.md").is_file()


def test_it_captions_the_example_photos(nano: picscribe.Scribe) -> None:
    captions = nano.caption(EXAMPLES)
    assert len({caption.text for caption in captions}) == len(EXAMPLES)
    for caption in captions:
        assert len(caption.text.split()) >= 4
        assert 0 < caption.confidence < 1


def test_it_looks_at_the_photo(nano: picscribe.Scribe, val: list[CaptionedImage]) -> None:
    """Captions fit their own photos, and not each other's; a broken fine-tune says the same of every image."""
    images = val[:100]
    report = evaluate_captions(nano, images, GenerationOptions(), batch_size=25)
    texts = list(report.predictions.values())
    random.Random(0).shuffle(texts)
    shuffled = score_captions(dict(zip(report.predictions, texts, strict=True)), images)
    assert report.errors == {}
    assert report.scores["CIDEr"] > 0.4
    assert report.scores["CIDEr"] > 3 * shuffled["CIDEr"]
    assert report.scores["distinct"] > 0.7


@pytest.mark.slow
def test_it_reaches_its_published_figures(nano: picscribe.Scribe, val: list[CaptionedImage]) -> None:
    report = evaluate_captions(nano, val, GenerationOptions(), batch_size=50)
    assert len(report.predictions) == 1000
    assert report.scores["CIDEr"] >= 0.50
    assert report.scores["BLEU-4"] >= 0.20

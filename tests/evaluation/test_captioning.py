"""Captioning a data set and scoring it: known predictions, images that cannot be used, progress."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from picscribe.datasets import CaptionedImage
from picscribe.errors import InputError, PicscribeError
from picscribe.evaluation import bleu, cider, rouge_l
from picscribe.evaluation.captioning import evaluate_captions, score_captions
from picscribe.generation import GenerationOptions
from picscribe.media.images import open_image
from picscribe.scribe import Caption

SUBJECTS = ["a brown dog", "two small cats", "an old man", "the red car", "a girl in blue"]
PLACES = ["runs across the wet grass", "sits by an open window", "waits near the tall tower"]
OPTIONS = GenerationOptions(beams=1, max_new_tokens=9)


class KnownCaptions:
    """Stands in for a Scribe: opens the images as it does, and says what the test knows."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self.calls: list[tuple[int, Any]] = []

    def caption(
        self, images: Sequence[Path], *, options: GenerationOptions, batch_size: int, errors: str
    ) -> list[Caption | PicscribeError]:
        assert errors == "return"
        self.calls.append((len(images), options))
        results: list[Caption | PicscribeError] = []
        for path in images:
            try:
                open_image(path)
                results.append(Caption(self.texts[path.name], 0.0, 1.0, (), ()))
            except PicscribeError as error:
                results.append(error)
        return results


@pytest.fixture
def images(tmp_path: Path) -> list[CaptionedImage]:
    examples = []
    for number in range(7):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), (30 * number, 0, 0)).save(path)
        subject, place = SUBJECTS[number % 5], PLACES[number % 3]
        examples.append(CaptionedImage(str(100 + number), path, (f"{subject} {place}.", f"{subject} is outside.")))
    return examples


def test_the_captions_of_people_score_in_full(images: list[CaptionedImage]) -> None:
    scribe = KnownCaptions({image.path.name: image.captions[0] for image in images})
    report = evaluate_captions(scribe, images, OPTIONS)
    assert report.predictions == {image.id: image.captions[0] for image in images}
    assert report.errors == {}
    assert report.seconds >= 0
    for metric in ("BLEU-1", "BLEU-4", "ROUGE-L", "distinct"):
        assert report.scores[metric] == pytest.approx(1)
    assert report.scores["CIDEr"] > 1


def test_scores_are_those_of_the_metrics_asked_alone(images: list[CaptionedImage]) -> None:
    predictions = {image.id: images[number // 2].captions[0] for number, image in enumerate(images)}
    references = {image.id: image.captions for image in images}
    scores = score_captions(predictions, images)
    assert list(scores) == ["CIDEr", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "distinct"]
    assert scores["CIDEr"] == cider(predictions, references).corpus
    assert [scores[f"BLEU-{n}"] for n in (1, 2, 3, 4)] == list(bleu(predictions, references).corpus)
    assert scores["ROUGE-L"] == rouge_l(predictions, references).corpus
    assert scores["distinct"] == 4 / 7
    assert 0 < scores["BLEU-4"] < 1


def test_a_model_that_always_says_the_same_is_seen(images: list[CaptionedImage]) -> None:
    scores = score_captions(dict.fromkeys([image.id for image in images], "a dog"), images)
    assert scores["distinct"] == 1 / 7


def test_an_image_that_cannot_be_used_scores_as_an_empty_caption(images: list[CaptionedImage]) -> None:
    scribe = KnownCaptions({image.path.name: image.captions[0] for image in images})
    images[2].path.write_bytes(b"no image at all")
    report = evaluate_captions(scribe, images, OPTIONS, batch_size=3)
    assert list(report.errors) == ["102"]
    assert "2.png" in report.errors["102"]
    assert list(report.predictions) == [image.id for image in images]
    assert report.predictions["102"] == ""
    known = {image.id: image.captions[0] for image in images} | {"102": ""}
    assert report.scores == score_captions(known, images)
    assert report.scores["ROUGE-L"] == pytest.approx(6 / 7), "left out, the broken image would not have cost anything"


@pytest.mark.parametrize(("batch_size", "batches"), [(3, [3, 3, 1]), (7, [7]), (50, [7])])
def test_progress_counts_images_and_options_are_passed_on(
    images: list[CaptionedImage], batch_size: int, batches: list[int]
) -> None:
    scribe = KnownCaptions({image.path.name: "a dog" for image in images})
    told: list[int] = []
    evaluate_captions(scribe, images, OPTIONS, batch_size, told.append)
    assert scribe.calls == [(batch, OPTIONS) for batch in batches]
    assert told == [sum(batches[: number + 1]) for number in range(len(batches))]


def test_no_images_are_an_error() -> None:
    with pytest.raises(InputError, match="no images to evaluate on"):
        evaluate_captions(KnownCaptions({}), [], OPTIONS)

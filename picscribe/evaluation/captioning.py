"""Caption a data set's images with a checkpoint, files to words, and score the captions."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from picscribe.errors import InputError, PicscribeError
from picscribe.evaluation.bleu import bleu
from picscribe.evaluation.cider import cider
from picscribe.evaluation.rouge import rouge_l

if TYPE_CHECKING:
    from picscribe.datasets import CaptionedImage
    from picscribe.generation import GenerationOptions
    from picscribe.scribe import Scribe


@dataclass(frozen=True)
class CaptionReport:
    """`scores` by metric, `predictions` by image id, `errors` of images that could not be used (they count as "")."""

    scores: dict[str, float]
    predictions: dict[str, str]
    errors: dict[str, str]
    seconds: float


def evaluate_captions(
    scribe: "Scribe",
    images: "Sequence[CaptionedImage]",
    options: "GenerationOptions",
    batch_size: int = 16,
    progress: Callable[[int], None] = lambda done: None,
) -> CaptionReport:
    """Caption every image and score against its references; an image that cannot be used scores as an empty caption.

    `progress` is told how many images are done. Raises InputError where there are no images.
    """
    if not images:
        raise InputError("no images to evaluate on")
    started = time.monotonic()
    predictions: dict[str, str] = {}
    errors: dict[str, str] = {}
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        captions = scribe.caption(
            [image.path for image in batch], options=options, batch_size=batch_size, errors="return"
        )
        for image, caption in zip(batch, captions, strict=True):
            if isinstance(caption, PicscribeError):
                errors[image.id] = str(caption)
            predictions[image.id] = "" if isinstance(caption, PicscribeError) else caption.text
        progress(len(predictions))
    seconds = time.monotonic() - started
    return CaptionReport(score_captions(predictions, images), predictions, errors, seconds)


def score_captions(predictions: dict[str, str], images: "Sequence[CaptionedImage]") -> dict[str, float]:
    """CIDEr, BLEU-1…4 and ROUGE-L against all references, and how many different captions there are per image.

    `distinct` is 1 where no caption comes twice, near 0 for a model that says the same of every image.
    """
    references = {image.id: image.captions for image in images}
    scores = {"CIDEr": cider(predictions, references).corpus}
    scores |= {f"BLEU-{n}": score for n, score in enumerate(bleu(predictions, references).corpus, 1)}
    scores["ROUGE-L"] = rouge_l(predictions, references).corpus
    scores["distinct"] = len(set(predictions.values())) / len(predictions)
    return scores

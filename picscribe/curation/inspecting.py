"""What one image and its texts are like, looked at alone; many are looked at by several processes."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from picscribe.curation.near_duplicates import Look, look_of
from picscribe.curation.rules import Fault, Rules, TextRules
from picscribe.datasets import Example
from picscribe.errors import PicscribeError
from picscribe.media.images import open_image

BLANK = 2.0
"""Standard deviation of grey levels, of 255, below which an image shows nothing."""


@dataclass(frozen=True)
class Findings:
    """Of an example: the image's fault and look, and a fault or none for each text."""

    id: str
    image: Fault | None
    look: Look
    texts: tuple[Fault | None, ...]

    def as_json(self) -> dict[str, Any]:
        """As `from_json` takes it."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Findings":
        """What `as_json` gave."""

        def fault(found: dict[str, str] | None) -> Fault | None:
            return Fault(**found) if found else None

        return cls(fields["id"], fault(fields["image"]), Look(**fields["look"]), tuple(map(fault, fields["texts"])))


class Inspector:
    """Holds the libraries, and the model where texts are scored; one a process."""

    def __init__(self, rules: Rules) -> None:
        self.rules, self.texts = rules, TextRules(rules)
        self.scribe: Any = None
        if rules.uses("score"):
            from picscribe.scribe import load

            self.scribe = load(rules.model)

    def inspect(self, example: Example) -> Findings:
        """Look at one example; what is wrong with it is found, never raised."""
        texts: list[Fault | None] = [self.texts.fault(text) for text in example.texts]
        try:
            image = open_image(example.image())
        except PicscribeError as error:
            broken = Fault("broken", " ".join(str(error).split())[:200])
            return Findings(example.id, broken, Look(0, 0), tuple(texts))
        fault = self._image_fault(image)
        look = look_of(image) if fault is None and self.rules.uses("image-duplicate") else Look(0, 0)
        left = [place for place, found in enumerate(texts) if found is None]
        if self.scribe is not None and fault is None and left:
            for place, low in zip(left, self._scored(image, [example.texts[k] for k in left]), strict=True):
                texts[place] = low
        return Findings(example.id, fault, look, tuple(texts))

    def _image_fault(self, image: Image.Image) -> Fault | None:
        if min(image.size) < self.rules.smallest_side and self.rules.uses("small"):
            return Fault("small", f"{image.width} × {image.height} pixels")
        grey = np.asarray(image.convert("L").resize((32, 32)))
        if grey.std() < BLANK and self.rules.uses("blank"):
            return Fault("blank", "one colour")
        return None

    def _scored(self, image: Image.Image, texts: list[str]) -> list[Fault | None]:
        """A fault for each text that the model finds too unlikely, or cannot read; the image is encoded once."""
        assert self.rules.least_score is not None
        try:
            scores = self.scribe.score(image, texts)
        except PicscribeError as error:
            if len(texts) == 1:
                return [Fault("score", " ".join(str(error).split())[:200])]
            return [fault for text in texts for fault in self._scored(image, [text])]
        nats = [score.log_likelihood / len(score.log_probabilities) for score in scores]
        return [Fault("score", f"{value:.3f}") if value < self.rules.least_score else None for value in nats]

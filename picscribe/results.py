"""What a `Scribe` says: captions and answers, classes, scores of given texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


@dataclass(frozen=True)
class Caption:
    """One caption or answer: `text` is what comes after the prompt, as people write it.

    score: what the search ranked by, a length-normalised log-probability; higher is better.
    confidence: exp of the mean token log-probability, from 0 to 1.
    tokens: ids without [SEP].
    log_probabilities: one a token, and [SEP]'s after them where the caption ended by itself.
    alternatives: where several captions were asked for, all of them, best first, this one included; else empty.
    decoded: the text as the original code's decoding gives it, "a cat ' s face"; what an evaluation scores.
    """

    text: str
    score: float
    confidence: float
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    alternatives: tuple[Caption, ...] = ()
    decoded: str = ""


@dataclass(frozen=True)
class RankedLabel:
    """A label with its log-likelihood, [SEP] included, and its probability among all labels that were given."""

    label: str
    log_likelihood: float
    probability: float


@dataclass(frozen=True)
class Classification:
    """The class of an image: `label`, and the likeliest ones, best first, in `ranking`."""

    ranking: tuple[RankedLabel, ...]

    @property
    def label(self) -> str:
        """The likeliest label."""
        return self.ranking[0].label


@dataclass(frozen=True)
class TextScore:
    """How likely a checkpoint finds a given text for an image.

    log_likelihood: the sum of `log_probabilities`, one a token and [SEP]'s last. confidence: exp of their mean, which
    compares texts of different lengths.
    """

    text: str
    log_likelihood: float
    confidence: float
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a network looked for each word of a caption.

    maps: (words, frames, rows, columns), each word's not below 0 and with a sum of 1; of a photo there is one frame.
    frames: what the network saw, RGB. A word of several pieces has the mean of their maps.
    """

    caption: Caption
    words: tuple[str, ...]
    maps: NDArray[np.float32]
    frames: Sequence[Image.Image]

    def draw(self) -> Image.Image:
        """The maps over what the network saw, a tile a word."""
        from picscribe.media.heat_maps import draw_heat_maps

        return draw_heat_maps(self.frames, self.words, self.maps)

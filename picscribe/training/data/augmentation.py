"""Random views of a training image: a crop of most of it, scaled to the network's square input, perhaps mirrored."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from picscribe.errors import ConfigurationError


@dataclass(frozen=True)
class Augmentation:
    """How far a view may stray: least share of the area, greatest change of the aspect, mirrored half of the time.

    The paper's own training crops 80–100 % of the area and keeps the aspect (arXiv 2205.14100, section 4.1).
    """

    min_area: float = 0.8
    max_stretch: float = 1.0
    mirror: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.min_area <= 1:
            raise ConfigurationError(f"augmentation.min_area must be in (0, 1], not {self.min_area!r}")
        if self.max_stretch < 1:
            raise ConfigurationError(f"augmentation.max_stretch must be at least 1, not {self.max_stretch!r}")
        # A crop stretched to the image's whole width has at most 1 / stretch of its area.
        if self.max_stretch * self.min_area > 1 + 1e-9:
            raise ConfigurationError(
                f"augmentation.max_stretch ({self.max_stretch!r}) can be at most 1 / min_area "
                f"({1 / self.min_area:.4g}): such a crop does not fit into the image"
            )


View = Callable[[Image.Image, int, Augmentation, random.Random, bool], Image.Image]
"""`draw_view` or `draw_square`."""


def crop_box(
    width: int, height: int, augmentation: Augmentation, draw: random.Random
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom, in pixels, of a random crop of a `width` × `height` image."""
    area = draw.uniform(augmentation.min_area, 1.0)
    stretch = math.exp(draw.uniform(-1, 1) * math.log(augmentation.max_stretch))
    crop_width = min(width, width * math.sqrt(area * stretch))
    crop_height = min(height, height * math.sqrt(area / stretch))
    left = draw.uniform(0, width - crop_width)
    top = draw.uniform(0, height - crop_height)
    return left, top, left + crop_width, top + crop_height


def draw_view(
    image: Image.Image, size: int, augmentation: Augmentation, draw: random.Random, may_mirror: bool
) -> Image.Image:
    """A random view of `image`, `size` × `size` pixels, bicubic; `may_mirror` is off where captions name a side."""
    box = crop_box(image.width, image.height, augmentation, draw)
    view = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    mirrored = augmentation.mirror and draw.random() < 0.5
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored and may_mirror else view


def draw_square(
    image: Image.Image, size: int, augmentation: Augmentation, draw: random.Random, may_mirror: bool
) -> Image.Image:
    """A random square of `image`, `size` × `size` pixels, bicubic: the paper's crop, for networks that see squares.

    Its area is a share of the image's, as far as it fits into it, which keeps the aspect.
    """
    area = draw.uniform(augmentation.min_area, 1.0) * image.width * image.height
    side = min(math.sqrt(area), image.width, image.height)
    left, top = draw.uniform(0, image.width - side), draw.uniform(0, image.height - side)
    view = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    mirrored = augmentation.mirror and draw.random() < 0.5
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored and may_mirror else view

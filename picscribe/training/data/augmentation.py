"""Random views of a training image: a crop of most of it, scaled to the network's square input, perhaps mirrored."""

import math
import random
import re
from collections.abc import Callable, Iterable

from PIL import Image

from picscribe.media.preprocessing import Preprocessing
from picscribe.training.recipe import Augmentation

SIDED = re.compile(r"\b(left|right)\b", re.IGNORECASE)

View = Callable[[Image.Image, int, Augmentation, random.Random, bool], Image.Image]
"""`draw_view` or `draw_square`."""


def may_mirror(texts: Iterable[str]) -> bool:
    """Whether an image can be mirrored: not where a text names a side."""
    return not any(SIDED.search(text) for text in texts)


def draw_crop(
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
    image: Image.Image, size: int, augmentation: Augmentation, draw: random.Random, can_mirror: bool
) -> Image.Image:
    """A random view of `image`, `size` × `size` pixels, bicubic; `can_mirror` is off where captions name a side."""
    box = draw_crop(image.width, image.height, augmentation, draw)
    return _mirror(image.resize((size, size), Image.Resampling.BICUBIC, box=box), augmentation, draw, can_mirror)


def draw_square(
    image: Image.Image, size: int, augmentation: Augmentation, draw: random.Random, can_mirror: bool
) -> Image.Image:
    """A random square of `image`, `size` × `size` pixels, bicubic: the paper's crop, for networks that see squares.

    Its area is a share of the image's, as far as it fits into it, which keeps the aspect.
    """
    area = draw.uniform(augmentation.min_area, 1.0) * image.width * image.height
    side = min(math.sqrt(area), image.width, image.height)
    left, top = draw.uniform(0, image.width - side), draw.uniform(0, image.height - side)
    view = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return _mirror(view, augmentation, draw, can_mirror)


def choose_view(preprocessing: Preprocessing) -> View:
    """How a checkpoint's training images are cropped: to any aspect where it squeezes photos, else to squares."""
    return draw_view if preprocessing.mode == "square" else draw_square


def _mirror(view: Image.Image, augmentation: Augmentation, draw: random.Random, can_mirror: bool) -> Image.Image:
    mirrored = augmentation.mirror and draw.random() < 0.5
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored and can_mirror else view

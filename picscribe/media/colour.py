"""Any of Pillow's pixel modes as RGB: transparency over white, deep pixels scaled rather than clipped."""

import numpy as np
from PIL import Image, ImageCms

LEVELS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
WHITE = (255, 255, 255, 255)


def to_rgb(image: Image.Image) -> Image.Image:
    """A new RGB image of any mode's image; what is transparent shows white behind it.

    Whole numbers of 16 or 32 bits are grey levels of the fewest of 8, 10, 12, 14 and 16 bits that hold the greatest of
    them: cameras and scanners of 10 to 14 bits write their levels as they are, and scaled from 65535 they would be
    black. Numbers that fit none, and floats that are within neither 0…1 nor 0…255, are stretched from their least to
    their greatest value.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        return _from_grey(values * (255 / _greatest_level(values)) if _within(values, 65535) else _stretch(values))
    if image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        return _from_grey(values * 255 if _within(values, 1) else values if _within(values, 255) else _stretch(values))
    if image.mode == "LAB":
        return _from_lab(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return _over_white(image.convert("RGBA"))
    # Without a copy the caller would share pixels with the image it gave.
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _greatest_level(values: np.ndarray) -> int:
    """White of the fewest usual bits that hold all values."""
    greatest = values.max(initial=0)
    return next(level for level in LEVELS if greatest <= level)


def _within(values: np.ndarray, greatest: float) -> bool:
    return bool(((values >= 0) & (values <= greatest)).all())


def _stretch(values: np.ndarray) -> np.ndarray:
    """Least to greatest finite value → 0…255; NaN becomes the least, infinities the ends."""
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() == finite.max():
        return np.zeros_like(values)
    least, greatest = finite.min(), finite.max()
    span = greatest / 2 - least / 2  # halves, as the difference of two floats may overflow
    return np.nan_to_num((values.clip(least, greatest) / 2 - least / 2) / span, nan=0.0) * 255


def _from_grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    assert converted is not None  # None only for a transform in place
    return converted


def _over_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")

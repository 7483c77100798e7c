"""Any of Pillow's pixel modes as RGB: transparency over white, deep pixels scaled rather than clipped."""

import numpy as np
from PIL import Image, ImageCms

WHITE = (255, 255, 255, 255)


def to_rgb(image: Image.Image) -> Image.Image:
    """A new RGB image of any mode's image; what is transparent shows white behind it.

    16-bit grey is scaled from 0…65535. Two modes have no fixed range: 32-bit whole numbers are taken for 16-bit where
    they fit, floats for 0…1 or 0…255 where they fit; else both are stretched from their least to their greatest value.
    """
    if image.mode.startswith("I;16"):
        return _from_grey(np.asarray(image).astype(np.float32) * np.float32(255 / 65535))
    if image.mode == "I":
        values = np.asarray(image).astype(np.float64)
        return _from_grey(values * (255 / 65535) if _within(values, 65535) else _stretch(values))
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

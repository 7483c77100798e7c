"""Opening images safely: any source that Pillow reads becomes an upright RGB image, or an error that names it."""

import contextlib
import functools
import importlib.util
import io
import os
import threading
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from picscribe.errors import ConfigurationError, InputError
from picscribe.media.repairs import BMP, JPEG, JPEG_END, PNG, has_bitfields, mended, read_bitfields, readable
from picscribe.media.signatures import is_heif, what_it_is
from picscribe.media.sources import MAX_IMAGE_BYTES, Content, describe, read_whole, reason_of

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Content | Image.Image | np.ndarray
)

# Pillow reads more than these. Left out on purpose: EPS (starts Ghostscript, an external program), WMF (drawn by
# Windows), FITS (unpacks gzip without a bound), IM (Pillow drops it), and BUFR, GRIB, HDF5, MPEG (only recognised).
# HEIF is read with pillow-heif, it and JXL also where a plug-in for Pillow is registered.
# fmt: off
READABLE_FORMATS = (
    "JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "AVIF", "JPEG2000", "HEIF", "JXL", "ICO", "CUR", "ICNS",
    "PPM", "TGA", "PCX", "DCX", "PSD", "QOI", "SGI", "SUN", "DDS", "BLP", "FTEX", "GBR", "IMT", "IPTC", "FLI",
    "MSP", "PCD", "PIXAR", "SPIDER", "XBM", "XPM", "XVTHUMB", "MCIDAS",
)
# fmt: on

HEIC_REMEDY = 'pip install "picscribe[heic]"'
"""What makes HEIC photos readable where they are not."""

PILLOW_IMAGES = threading.Lock()
"""Held while pixels of an image that the caller made are read: Pillow reads them at first use, in one thread only."""

ORIENTATION = 0x0112
TURNS = {  # EXIF orientation → what makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

LEVELS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
"""White in the grey levels of cameras and scanners."""
WHITE = (255, 255, 255, 255)


@dataclass(frozen=True)
class ImageLimits:
    """What `open_image` takes at most; sizes are checked from the header, before anything is decoded.

    `max_pixels` is by default where Pillow begins to warn of decompression bombs; from twice that on it refuses itself.
    """

    max_pixels: int = 89_478_485
    max_bytes: int = MAX_IMAGE_BYTES
    max_aspect: int = 1000

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_bytes", "max_aspect"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"ImageLimits.{name} must be a whole number of at least 1, not {value!r}")

    def check(self, name: str, width: int, height: int) -> None:
        """Raise InputError where an image of this size is empty, too large, or too long and thin."""
        if width < 1 or height < 1:
            raise InputError(f"{name} is {width}×{height} pixels: there is no picture in it")
        if width * height > self.max_pixels:
            raise InputError(
                f"{name} is {width}×{height} pixels, over the limit of {self.max_pixels}: shrink it, or raise the limit"
            )
        if max(width, height) > self.max_aspect * min(width, height):
            raise InputError(
                f"{name} is {width}×{height} pixels, one side over {self.max_aspect} times the other: crop it first"
            )


def open_image(source: ImageSource, limits: ImageLimits = ImageLimits(), *, at_least: int | None = None) -> Image.Image:
    """Open a path, the bytes of a file, a binary stream, a Pillow image or a uint8 array as RGB.

    An array is (height, width), or with a last axis of 1, 3 or 4 channels. The result is a new image, turned upright by
    its EXIF orientation (unreadable EXIF data counts as none); transparent parts are laid over white; of an animation
    it is the first frame (of a Pillow image, the current one). The format is recognised by the content, never by the
    suffix. Changes no global state; safe to call from several threads.

    at_least: a JPEG file may come out at a half, a quarter or an eighth of its size, which is faster, as long as its
    shorter side keeps so many pixels and both sides divide evenly, so that the aspect stays.

    Raises InputError naming the source for whatever cannot be opened: missing or special files, content that is not an
    image, truncated or damaged images, and those beyond `limits`.
    """
    name = describe(source)
    try:
        return _open(source, name, limits, at_least)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name} has too many pixels: {reason_of(error)}; shrink it first") from error
    except MemoryError as error:
        raise InputError(f"{name} needs more memory than there is: shrink it first") from error
    except Exception as error:  # Pillow's decoders raise SyntaxError, struct.error, EOFError, OverflowError and more
        problem = f"is damaged or incomplete and cannot be decoded ({reason_of(error)})"
        raise InputError(f"{name} {problem}: download it again") from error


def _open(source: ImageSource, name: str, limits: ImageLimits, at_least: int | None) -> Image.Image:
    if isinstance(source, np.ndarray):
        return upright(_from_array(source, name, limits), name, limits)
    if isinstance(source, Image.Image):
        if source.format is not None and source.format not in READABLE_FORMATS:
            raise InputError(f"{name} has the format {source.format}, which picscribe does not open: convert it to PNG")
        limits.check(name, *source.size)
        with PILLOW_IMAGES:
            return upright(source, name, limits)
    content = read_whole(source, limits.max_bytes)
    if not (content.startswith(JPEG) and content.endswith(JPEG_END)):  # a JPEG with its end needs no repairs
        content = readable(content)
    try:
        return _decode(content, name, limits, at_least)
    except (InputError, Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise
    except Exception as error:
        if (sound := mended(content)) is not None:
            return _decode(sound, name, limits, at_least)
        if isinstance(error, UnidentifiedImageError):
            raise InputError(f"{name} is {what_it_is(content)}") from error
        raise


def _decode(content: bytes, name: str, limits: ImageLimits, at_least: int | None) -> Image.Image:
    if content.startswith(BMP) and has_bitfields(content):
        return upright(read_bitfields(content, functools.partial(limits.check, name)), name, limits)
    image = _identify(content, name)
    limits.check(name, *image.size)
    if at_least is not None:
        _draft(image, at_least)
    return upright(image, name, limits)


def _identify(content: bytes, name: str) -> Image.Image:
    """The image in a file's content, its pixels not decoded yet."""
    if content.startswith((JPEG, PNG)):  # Pillow's forty other formats take a while to import
        Image.preinit()
        with contextlib.suppress(UnidentifiedImageError):
            return Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
    try:
        return Image.open(io.BytesIO(content), formats=_readable_formats())
    except UnidentifiedImageError:
        if not is_heif(content):
            raise
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError as error:
        raise InputError(f"{name} is a HEIC photo, which needs pillow-heif: {HEIC_REMEDY}") from error
    # Used by itself, not registered: Pillow in the rest of the caller's program reads what it did before.
    image: Image.Image = HeifImageFile(io.BytesIO(content))  # type: ignore[no-untyped-call]
    return image


def upright(image: Image.Image, name: str, limits: ImageLimits) -> Image.Image:
    """An image's pixels as a new RGB image, turned by its EXIF orientation."""
    image.load()
    limits.check(name, *image.size)  # again: an icon's entry may hold a larger image than its directory says
    turn = TURNS.get(_orientation(image))
    rgb = to_rgb(image if turn is None else image.transpose(turn))
    rgb.info = {}  # its EXIF data would have the next reader turn it once more
    return rgb


def _draft(image: Image.Image, at_least: int) -> None:
    """Have a JPEG that is not decoded yet decoded at the smallest scale that keeps `at_least` pixels."""
    width, height = image.size
    for scale in (8, 4, 2):
        if min(width, height) >= scale * at_least and width % scale == height % scale == 0:
            image.draft(None, (width // scale, height // scale))
            return


def reads_heic() -> bool:
    """Whether HEIC photos can be opened here."""
    return "HEIF" in _readable_formats() or importlib.util.find_spec("pillow_heif") is not None


@functools.cache
def _readable_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in READABLE_FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF data is parsed in many places and fails in as many ways; the picture itself is sound
        return 1
    return value if isinstance(value, int) else 1


def _from_array(array: np.ndarray, name: str, limits: ImageLimits) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise InputError(f"{name} is not an image: {_remedy_of(array)}")
    limits.check(name, array.shape[1], array.shape[0])
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def _remedy_of(array: np.ndarray) -> str:
    """What to do with an array that is no image."""
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return "give uint8 with the channels last; .transpose(1, 2, 0) moves them there"
    if array.dtype == np.uint8 and array.ndim == 4:
        return "give uint8 of one image, or Video(array) for the frames of a video"
    if array.dtype.kind == "f" and array.size and np.isfinite(array).all() and 0 <= array.min() <= array.max() <= 1:
        return "give uint8; of floats from 0 to 1 that is (255 * array).round().astype(np.uint8)"
    return "give uint8, 0 to 255, of shape (height, width) or (height, width, 1, 3 or 4)"


# Any of Pillow's modes as RGB


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

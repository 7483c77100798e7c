"""Opening images safely: any source that Pillow reads becomes an upright RGB image, or an error that names it."""

import functools
import io
import os
import re
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from picscribe.errors import ConfigurationError, InputError
from picscribe.media.colour import to_rgb

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

# Pillow reads more than these. Left out on purpose: EPS (starts Ghostscript, an external program), WMF (drawn by
# Windows), FITS (unpacks gzip without a bound), IM (Pillow drops it), and BUFR, GRIB, HDF5, MPEG (only recognised).
# HEIF and JXL are read where a plug-in for Pillow is registered.
# fmt: off
READABLE_FORMATS = (
    "JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "AVIF", "JPEG2000", "HEIF", "JXL", "ICO", "CUR", "ICNS",
    "PPM", "TGA", "PCX", "DCX", "PSD", "QOI", "SGI", "SUN", "DDS", "BLP", "FTEX", "GBR", "IMT", "IPTC", "FLI",
    "MSP", "PCD", "PIXAR", "SPIDER", "XBM", "XPM", "XVTHUMB", "MCIDAS",
)
# fmt: on

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

IMAGE_START = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*", re.S)

# How content starts that is often given for an image → what it is and what to do.
KNOWN_OTHERS = (
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "EPS or PostScript, which is a program; convert it to PNG"),
    (re.compile(rb"%PDF"), "a PDF; convert its page to PNG"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml|<!DOCTYPE svg|<svg)"), "an SVG drawing or other XML; convert it to PNG"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", re.I), "a web page; download the image itself"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer; run `git lfs pull`"),
    (re.compile(rb"....ftyp(heic|heix|hevc|heim|heis|mif1|msf1)", re.S), "a HEIC photo; convert it to JPEG"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "a JPEG XL photo; convert it to JPEG"),
    (
        re.compile(rb"....ftyp(?!avi[fs])|\x1aE\xdf\xa3|RIFF....AVI ", re.S),
        "a video; caption it with a model for videos, or ask for 1 frame of it",
    ),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"), "an archive; unpack it first"),
)


@dataclass(frozen=True)
class ImageLimits:
    """What `open_image` takes at most; sizes are checked from the header, before anything is decoded.

    `max_pixels` is by default where Pillow begins to warn of decompression bombs; from twice that on it refuses itself.
    """

    max_pixels: int = 89_478_485
    max_bytes: int = 256 * 1024 * 1024
    max_aspect: int = 1000

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_bytes", "max_aspect"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"ImageLimits.{name} must be a whole number of at least 1, not {value!r}")

    def check(self, name: str, width: int, height: int) -> None:
        """Raise InputError where an image of this size is empty, too large, or too long and thin."""
        if width < 1 or height < 1:
            raise InputError(f"{name} is {width}×{height} pixels: it holds no picture")
        if width * height > self.max_pixels:
            raise InputError(
                f"{name} is {width}×{height} pixels, over the limit of {self.max_pixels}: shrink it, or raise the limit"
            )
        if max(width, height) > self.max_aspect * min(width, height):
            raise InputError(
                f"{name} is {width}×{height} pixels, one side over {self.max_aspect} times the other: crop it first"
            )


def open_image(source: ImageSource, limits: ImageLimits = ImageLimits(), *, at_least: int | None = None) -> Image.Image:
    """Open a path, the bytes of a file, a binary stream, a Pillow image or a uint8 array (H×W, H×W×3, H×W×4) as RGB.

    The result is a new image, turned upright by its EXIF orientation (unreadable EXIF data counts as none); transparent
    parts are laid over white; of an animation it is the first frame (of a Pillow image, the current one). The format is
    told from the content, never from the suffix. Changes no global state; safe to call from several threads.

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
        raise InputError(f"{name} has too many pixels: {error}; shrink it first") from error
    except MemoryError as error:
        raise InputError(f"{name} needs more memory than there is: shrink it first") from error
    except Exception as error:  # Pillow's decoders raise SyntaxError, struct.error, EOFError, OverflowError and more
        reason = str(error) or type(error).__name__
        raise InputError(f"{name} is damaged or incomplete and cannot be decoded ({reason}): get it anew") from error


def in_memory(source: ImageSource, limits: ImageLimits = ImageLimits()) -> ImageSource:
    """A stream read to its end, as a stream in memory under the same name; any other source as it is.

    Raises InputError for a stream that cannot be read, is empty, or goes beyond `limits`.
    """
    if not hasattr(source, "read"):
        return source
    name = describe(source)
    stream = io.BytesIO(_read(source, name, limits.max_bytes))
    stream.name = name
    return stream


def describe(source: object) -> str:
    """How an error names `source`; always printable."""
    if isinstance(source, str | os.PathLike):
        text = os.fsdecode(source)
    elif isinstance(source, bytes | bytearray | memoryview):
        text = f"image of {len(source)} bytes"
    elif isinstance(source, np.ndarray):
        text = f"array of shape {source.shape} and type {source.dtype}"
    elif isinstance(source, Image.Image):
        text = os.fsdecode(getattr(source, "filename", "") or f"Pillow image of mode {source.mode}")
    else:
        text = str(getattr(source, "name", None) or f"object of type {type(source).__name__}")
    return text.encode("utf-8", "backslashreplace").decode()


def _open(source: ImageSource, name: str, limits: ImageLimits, at_least: int | None) -> Image.Image:
    if isinstance(source, np.ndarray):
        return _upright(_from_array(source, name, limits), name, limits)
    if isinstance(source, Image.Image):
        if source.format is not None and source.format not in READABLE_FORMATS:
            raise InputError(f"{name} is of Pillow's format {source.format}, which is not opened: convert it to PNG")
        limits.check(name, *source.size)
        with PILLOW_IMAGES:
            return _upright(source, name, limits)
    content = _read(source, name, limits.max_bytes)
    try:
        image = Image.open(io.BytesIO(content), formats=_readable_formats())
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is {_what_it_is(content)}") from error
    limits.check(name, *image.size)
    if at_least is not None:
        _draft(image, at_least)
    return _upright(image, name, limits)


def _upright(image: Image.Image, name: str, limits: ImageLimits) -> Image.Image:
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


@functools.cache
def _readable_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in READABLE_FORMATS if name in Image.OPEN)


def _what_it_is(content: bytes) -> str:
    if IMAGE_START.match(content):
        return "damaged or incomplete: it starts as an image does, but its header cannot be read; get it anew"
    for start, what in KNOWN_OTHERS:
        if start.match(content):
            return f"not an image but {what}"
    return f"not an image that can be read (it starts with {content[:12]!r}): give a JPEG, PNG, WebP, GIF, TIFF or BMP"


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF data is parsed in many places and fails in as many ways; the picture itself is sound
        return 1
    return value if isinstance(value, int) else 1


def _from_array(array: np.ndarray, name: str, limits: ImageLimits) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise InputError(f"{name} is not an image: give uint8 of shape (height, width) or (height, width, 3 or 4)")
    limits.check(name, array.shape[1], array.shape[0])
    return Image.fromarray(array)


def _read(source: object, name: str, max_bytes: int) -> bytes:
    """The whole content of a path, stream or bytes-like object, if it is not longer than `max_bytes`."""
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source) if len(source) <= max_bytes else b"\0" * (max_bytes + 1)
    elif isinstance(source, str | os.PathLike):
        content = _read_file(source, name, max_bytes)
    elif hasattr(source, "read"):
        content = _read_stream(source, name, max_bytes)
    else:
        raise InputError(f"{name} is not an image: give a path, bytes, a stream, a Pillow image or a uint8 array")
    if len(content) > max_bytes:
        raise InputError(f"{name} is longer than the limit of {max_bytes} bytes: shrink it, or raise the limit")
    if not content:
        raise InputError(f"{name} is empty (0 bytes): get it anew")
    return content


def _read_file(path: str | os.PathLike[str], name: str, max_bytes: int) -> bytes:
    def open_without_waiting(path: str, flags: int) -> int:  # a named pipe would wait until somebody writes
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        if os.path.isdir(path):
            raise InputError(f"{name} is a folder, not an image: name the files in it")
        with open(path, "rb", opener=open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{name} is a pipe, device or socket: save it to a file, or give its bytes")
            return file.read(max_bytes + 1)
    except FileNotFoundError as error:
        remedy = "download it first" if re.match(r"https?://", name) else "check the name"
        raise InputError(f"{name} does not exist: {remedy}") from error
    except PermissionError as error:
        raise InputError(f"{name} may not be read by this user: change its permissions") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read ({error}): check the name and the disk") from error


def _read_stream(stream: object, name: str, max_bytes: int) -> bytes:
    try:
        content = stream.read(max_bytes + 1)  # type: ignore[attr-defined]
    except Exception as error:  # a stream may be anything, a network connection too
        raise InputError(f"{name} cannot be read ({error or type(error).__name__}): open it anew") from error
    if not isinstance(content, bytes):
        raise InputError(f"{name} gives {type(content).__name__}, not bytes: open it in binary mode")
    return content


def _natural_key(path: Path) -> tuple[list[list[tuple[int, int, str]]], str]:
    parts = [re.split(r"(\d+)", part) for part in path.parts]
    key = [[(0, int(x), "") if x.isdecimal() else (1, 0, x.casefold()) for x in part if x] for part in parts]
    return key, str(path)


@dataclass(frozen=True)
class FolderContent:
    """What `find_images` found: `files` in natural order, and what was left out.

    `unreadable` gives the reason for each folder within that cannot be read, `linked` the links to folders.
    """

    files: tuple[Path, ...]
    unreadable: Mapping[Path, InputError]
    linked: tuple[Path, ...]


def find_images(folder: Path) -> FolderContent:
    """Every file of a folder and those below it in natural order (photo2 before photo10), hidden ones left out.

    Files of any suffix are listed: whether one is an image shows when it is opened. Links to folders are not followed.
    Raises InputError for a folder that is missing or cannot be read; one within it does not hide the others' files.
    """
    files: list[Path] = []
    linked: list[Path] = []
    unreadable: dict[Path, InputError] = {}

    def note(error: OSError) -> None:
        path = Path(error.filename or folder)
        what = f"folder {describe(path)} cannot be read ({error.strerror})"
        problem = InputError(f"{what}: check its name and permissions")
        if path == folder:
            raise problem from error
        unreadable[path] = problem

    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked += [Path(parent, name) for name in folders if os.path.islink(os.path.join(parent, name))]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    files.sort(key=lambda path: _natural_key(path.relative_to(folder)))
    return FolderContent(tuple(files), unreadable, tuple(linked))

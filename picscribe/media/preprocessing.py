"""From an image or a video to the pixels that a checkpoint expects: size, crop or aspect, and normalisation.

torch is imported by what gives tensors only: a process that opens strangers' images makes arrays, and needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from picscribe.errors import ConfigurationError, InputError
from picscribe.media.images import ImageSource, open_image
from picscribe.media.sources import hold
from picscribe.media.video import Video, describe_video, is_video, read_frames

if TYPE_CHECKING:
    from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Mode = Literal["center_crop", "keep_aspect", "square"]

LONG_AND_THIN = 16
"""Beyond this aspect ratio, a centre crop enlarges only what it keeps."""

DETAIL = 6
"""How many times its final size a JPEG is decoded at least.

Then photos and even pure noise come out as if decoded whole, to two levels of 255; a drawing of rings that holds every
frequency, to 0.3 levels on average and 16 at most."""

FAST_DETAIL = 2
"""The same for a network that computes in bfloat16 or int8, whose rounding changes more captions than this does.

Pure noise and smooth pictures come out as if decoded whole to two levels on average and 12 at most. How many captions
change: `python -m benchmarks.pipeline --details 2`."""

BICUBIC_REACH = 3
"""Pixels on each side of a position that bicubic enlarging may read, with one to spare."""

ROUNDING = 0.01
"""How far beyond black and white pixels may be that were computed in other ways, such as in half precision."""

SMALLEST_SIDE = 16
"""Shorter sides than this hold no patch of any released image encoder (ViT-B/16, ViT-L/14)."""


RESIZES: dict[str, Mode] = {"center-crop": "center_crop", "keep-aspect": "keep_aspect", "square": "square"}


@dataclass(frozen=True)
class Preprocessing:
    """How a checkpoint wants its images; the defaults are those of the released captioning checkpoints.

    - `center_crop`: shorter edge to `size`, then the central `size`×`size`: transformers' CLIPImageProcessor.
    - `keep_aspect`: shorter edge to `size`, unless the longer would pass `longer_edge`, then that to `longer_edge`; no
      crop. What the original code does for VQA and TextVQA (480 and 640 for base, 420 and 560 for large).
    - `square`: straight to `size`×`size`.

    All resizing is Pillow's bicubic, antialiased. `mean` and `std` are of red, green, blue in 0…1. `detail` is how many
    times `size` a JPEG is decoded at least; a checkpoint does not say it.
    """

    size: int = 224
    mode: Mode = "center_crop"
    longer_edge: int | None = None
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    detail: int = field(default=DETAIL, repr=False)  # without it in repr, a checkpoint keeps its fingerprint

    def __post_init__(self) -> None:
        for name in ("size", "detail"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"Preprocessing.{name} must be a whole number of at least 1, not {value!r}")
        if self.mode not in get_args(Mode):
            raise ConfigurationError(f"Preprocessing.mode must be {' or '.join(get_args(Mode))}, not {self.mode!r}")
        if self.mode != "keep_aspect" and self.longer_edge is not None:
            raise ConfigurationError(f"Preprocessing.longer_edge goes with mode keep_aspect only, not with {self.mode}")
        if self.mode == "keep_aspect" and (type(self.longer_edge) is not int or self.longer_edge < self.size):
            raise ConfigurationError(
                f"Preprocessing.longer_edge must be a whole number from size ({self.size}) on, not {self.longer_edge!r}"
            )
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ConfigurationError(f"Preprocessing.{name} must be three finite numbers, not {values!r}")
        if min(self.std) <= 0:
            raise ConfigurationError(f"Preprocessing.std must be above 0, not {self.std!r}")

    def read(self, source: ImageSource | Tensor) -> Tensor:
        """Open an image and shape it: as `self(open_image(source))`, but a large JPEG is decoded at a smaller scale.

        A tensor is taken for pixels that were made before, and returned, on the CPU. Raises InputError for one that
        this could not have made, by its shape, type or values; other errors are those of `open_image` and of calling
        this.
        """
        import torch

        if not isinstance(source, torch.Tensor):
            return torch.from_numpy(self.read_array(source))
        pixels = source.detach().cpu()
        self._check(pixels)
        return pixels

    def read_array(self, source: ImageSource) -> NDArray[np.float32]:
        """`read` for an image, without torch: (3, height, width)."""
        return self.normalise(self.read_levels(source))

    def read_levels(self, source: ImageSource) -> NDArray[np.uint8]:
        """`levels` of an image that is yet to be opened."""
        return self.levels(open_image(source, at_least=self.detail * self.size))

    def _check(self, pixels: Tensor) -> None:
        """Raise InputError for a tensor that `__call__` cannot have made."""
        import torch

        if pixels.dtype != torch.float32 or pixels.dim() != 3 or len(pixels) != 3 or not self._may_be_of_size(pixels):
            sides = f"{self.size}, {self.size}" if self.longer_edge is None else f"up to {self.longer_edge} a side"
            raise InputError(
                f"a tensor must be pixels as Scribe.pixels makes them, (3, {sides}) of float32, not"
                f" {tuple(pixels.shape)} of {str(pixels.dtype).removeprefix('torch.')}: give its image as an array"
            )
        # NumPy, since a second thread that computes with torch slows down the first for good: OpenMP then has more
        # threads than there are processors, and they sleep between products instead of waiting for the next.
        values = pixels.numpy()
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        lowest = float((values.min((1, 2)) * std + mean).min())
        highest = float((values.max((1, 2)) * std + mean).max())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise InputError("a tensor of pixels holds values that are not finite: make it with Scribe.pixels")
        if lowest < -ROUNDING or highest > 1 + ROUNDING:
            raise InputError(
                f"a tensor of pixels goes from {lowest:.3g} to {highest:.3g}, where black is 0 and white 1:"
                " make it with Scribe.pixels, or give its image as an array"
            )

    def _may_be_of_size(self, pixels: Tensor) -> bool:
        """Whether an image can come out at this height and width."""
        short, long = sorted(pixels.shape[1:])
        if self.longer_edge is None:
            return short == long == self.size
        if short == self.size:
            return long <= self.longer_edge
        # The shorter edge is rounded first and the longer one made of it, which may be as far off as half a pixel of
        # the shorter makes.
        slack = math.ceil(self.longer_edge / (2 * max(short, 1))) + 1
        return min(SMALLEST_SIDE, self.size) <= short < self.size and abs(long - self.longer_edge) <= slack

    def __call__(self, image: Image.Image) -> Tensor:
        """An RGB image (see `open_image`) → pixels (3, height, width), float32.

        Raises InputError for another mode or an empty image, and with `keep_aspect` for one so long and thin that its
        shorter edge would hold no patch.
        """
        import torch

        return torch.from_numpy(self.array(image))

    def array(self, image: Image.Image) -> NDArray[np.float32]:
        """`__call__` without torch."""
        return self.normalise(self.levels(image))

    def levels(self, image: Image.Image) -> NDArray[np.uint8]:
        """The image at its final size, (3, height, width), a quarter of the bytes of its pixels; see `normalise`."""
        if image.mode != "RGB" or 0 in image.size:
            raise InputError(
                f"preprocessing takes an RGB image, not mode {image.mode} of {image.width}×{image.height} pixels:"
                " open it with picscribe.media.open_image"
            )
        return np.ascontiguousarray(np.asarray(self.resize(image)).transpose(2, 0, 1))

    def normalise(self, levels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pixels of levels from 0 to 255, (…, 3, height, width)."""
        # Every thread that computes with torch gets threads of its own to help it; with NumPy it does not.
        pixels = levels.astype(np.float32)
        pixels /= 255
        pixels -= np.array(self.mean, np.float32)[:, None, None]
        pixels /= np.array(self.std, np.float32)[:, None, None]
        return pixels

    def images_of(self, pixels: Tensor) -> list[Image.Image]:
        """What a network sees in pixels (3, height, width), or in each frame of (F, 3, height, width), as RGB."""
        import torch

        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        frames = pixels if pixels.dim() == 4 else pixels[None]
        levels = ((frames * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
        return [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in levels]

    def resize(self, image: Image.Image) -> Image.Image:
        """The image at the size that `__call__` gives, before normalisation."""
        if self.mode == "square":
            return image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        if self.mode == "keep_aspect":
            return image.resize(self._size_within(*image.size), Image.Resampling.BICUBIC)
        return self._center_crop(image)

    def _size_within(self, width: int, height: int) -> tuple[int, int]:
        """Width and height under `keep_aspect`, rounded as the original code rounds them."""
        assert self.longer_edge is not None
        short, long = sorted((width, height))
        size = self.size
        if long / short * size > self.longer_edge:
            size = round(self.longer_edge * short / long)
        if size < min(SMALLEST_SIDE, self.size):
            raise InputError(
                f"an image of {width}×{height} pixels would be {size} pixels thin at {self.longer_edge} pixels long:"
                " crop it first, or use a checkpoint that crops"
            )
        longer = int(size * long / short)
        return (size, longer) if width <= height else (longer, size)

    def _center_crop(self, image: Image.Image) -> Image.Image:
        size, (width, height) = self.size, image.size
        short, long = sorted((width, height))
        longer = int(size * long / short)
        new_width, new_height = (size, longer) if width <= height else (longer, size)
        left, top = (new_width - size) // 2, (new_height - size) // 2
        if short >= size or long <= LONG_AND_THIN * short:
            whole = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
            return whole.crop((left, top, left + size, top + size))
        # Enlarged whole, one pixel by a thousand would come to 50 million. What the crop keeps is the same without the
        # rest, to two levels of 255 in the worst case of noise: Pillow takes a box's corners as single floats.
        # Across, then down, as Pillow enlarges, because it rounds and clips between the two.
        x, y = width / new_width, height / new_height
        first = max(0, math.floor(top * y) - BICUBIC_REACH)
        last = min(height, math.ceil((top + size) * y) + BICUBIC_REACH)
        rows = image.crop((0, first, width, last))
        across = (left * x, 0, min((left + size) * x, width), last - first)
        rows = rows.resize((size, last - first), Image.Resampling.BICUBIC, box=across)
        down = (0, top * y - first, size, min((top + size) * y - first, last - first))
        return rows.resize((size, size), Image.Resampling.BICUBIC, box=down)


def stacked(pixels: Sequence[Tensor]) -> Tensor:
    """(3, height, width) of several images, or other tensors on the CPU → (n, 3, height, width), by this thread alone.

    As torch.stack, for threads that read: every one that computes with torch gets threads of its own to help it.
    """
    import torch

    return torch.from_numpy(np.stack([one.numpy() for one in pixels]))


def resized(preprocessing: Preprocessing, resize: str) -> Preprocessing:
    """The same with another way of resizing: a key of RESIZES.

    With "keep-aspect" the longer edge is at most 4/3 of the size: 640 of 480, 560 of 420, as in the original code.
    Raises ConfigurationError for a name that is not known.
    """
    if resize not in RESIZES:
        raise ConfigurationError(f"unknown resize {resize!r}: choose one of {', '.join(RESIZES)}")
    longer = preprocessing.size * 4 // 3 if resize == "keep-aspect" else None
    return replace(preprocessing, mode=RESIZES[resize], longer_edge=longer)


# An image or a video, whichever is given


def held(source: object) -> object:
    """The source, with a stream's content in place of the stream, a video's too (see `sources.hold`).

    A thread that waits for a stream cannot be interrupted, and two that share one get half each: hold it first.
    Raises InputError for a stream that cannot be read.
    """
    if isinstance(source, Video):
        return replace(source, source=hold(source.source))  # type: ignore[arg-type]
    return hold(source)


def pixels_of(source: ImageSource | Tensor | Video, preprocessing: Preprocessing, most: int, name: str) -> Tensor:
    """Pixels (3, height, width) of an image, (F, 3, height, width) of a video, for a network of up to `most` frames.

    A network of photos, `most` 0, takes a video's middle frame where one is asked for. A network of videos takes
    videos, animations and arrays of frames as they are; of a stream the content is what counts. `name` is the
    checkpoint's. Raises InputError for what cannot be used.
    """
    import torch

    if isinstance(source, torch.Tensor):
        return _checked(source, preprocessing, most, name)
    return torch.from_numpy(array_of(source, preprocessing, most, name))


def array_of(source: ImageSource | Video, preprocessing: Preprocessing, most: int, name: str) -> NDArray[np.float32]:
    """`pixels_of` for what is no tensor, without torch."""
    return preprocessing.normalise(levels_of(source, preprocessing, most, name))


def levels_of(source: ImageSource | Video, preprocessing: Preprocessing, most: int, name: str) -> NDArray[np.uint8]:
    """What `Preprocessing.normalise` makes `array_of` of."""
    given = held(source)
    if not isinstance(given, Video):
        if not (is_video(given) if most else getattr(given, "ndim", 0) == 4):
            return preprocessing.read_levels(given)  # type: ignore[arg-type]
        given = Video(given)  # type: ignore[arg-type]
    wanted = given.frames or most
    if not 1 <= wanted <= max(most, 1):
        raise InputError(f"{describe_video(given.source)} {_why_not(wanted, most, name)}")
    frames = read_frames(given.source, wanted, given.start, given.end)
    levels = [preprocessing.levels(frame) for frame in frames]
    return np.stack(levels) if most else levels[0]


def _checked(pixels: Tensor, preprocessing: Preprocessing, most: int, name: str) -> Tensor:
    """A tensor of pixels that were made before, of an image or a video's frames."""
    if pixels.dim() != 4:
        return preprocessing.read(pixels)
    if not 1 <= len(pixels) <= most:
        takes = f"videos of at most {most} frames" if most else "photos"
        raise InputError(f"a tensor of {len(pixels)} frames cannot be used: {name} takes {takes}")
    import torch

    return torch.from_numpy(np.stack([preprocessing.read(frame).numpy() for frame in pixels]))


def _why_not(wanted: int, most: int, name: str) -> str:
    if most:
        return f"is to be seen in {wanted} frames, but {name} takes at most {most}: ask for no more"
    return f"is a video, and {name} takes photos: ask for 1 frame, the middle one"

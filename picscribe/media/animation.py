"""Animated GIF, WebP, PNG and AVIF through Pillow, which decodes them frame by frame."""

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image

from picscribe.errors import InputError
from picscribe.media.images import PILLOW_IMAGES, ImageLimits, upright
from picscribe.media.repairs import readable
from picscribe.media.signatures import may_be_animation
from picscribe.media.sources import MAX_VIDEO_BYTES, head_of, open_stream, read_whole, reason_of

FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
SHORTEST = 0.02
"""Seconds that a frame is shown where the file says less: browsers take such frames for a tenth, players for a tick."""

MOST_FRAMES = 100_000
MOST_PIXELS = 20_000_000_000
"""Of all frames together: they are decoded from the first on, whichever is wanted."""


def is_animation(source: object) -> bool:
    """Whether a path, bytes, `Content` or a Pillow image with its file is an image of several frames."""
    try:
        if isinstance(source, Image.Image):
            with PILLOW_IMAGES, _keeping_place(source):
                return source.format in FORMATS and getattr(source, "n_frames", 1) > 1
        if not may_be_animation(head_of(source)):
            return False
        with open_stream(source, MAX_VIDEO_BYTES) as stream:
            return _frames_in(_opened(stream)) > 1
    except Exception:  # Pillow raises many types for damaged files
        return False


class Animation:
    """The frames of an animation by time; a `Clip`."""

    def __init__(self, source: BinaryIO | Image.Image, name: str, limits: ImageLimits) -> None:
        """Of a stream, which is closed with it, or of a Pillow image, which is left as it was.

        Raises InputError where it cannot be read, or goes beyond `limits` or what an animation may have.
        """
        self.name, self.limits, self.given = name, limits, isinstance(source, Image.Image)
        try:
            self.image = source if isinstance(source, Image.Image) else _opened(source)
            limits.check(name, *self.image.size)
            with self._reading():
                count = _frames_in(self.image)
                self._check_frames(count)
                self.first = int(getattr(self.image, "default_image", False))  # of a PNG: no part of its animation
                self.starts, self.duration = self._times(count)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{name} cannot be read as an animation ({reason_of(error)}): save it again") from error

    def _check_frames(self, count: int) -> None:
        if count < 2:
            raise InputError(f"{self.name} is a photo, not a video: it has one frame and no times")
        width, height = self.image.size
        if count > MOST_FRAMES or count * width * height > MOST_PIXELS:
            limit = f"{MOST_FRAMES} frames and {MOST_PIXELS // 10**6} million pixels"
            raise InputError(
                f"{self.name} has {count} frames of {width}×{height} pixels, over the limit of {limit}: shrink it"
            )

    def _times(self, count: int) -> tuple[list[float], float]:
        """When each frame begins, and when the last ends; a file that breaks off ends there."""
        starts, now = [], 0.0
        for number in range(self.first, count):
            try:
                self.image.seek(number)
                self.image.load()
            except Exception:
                break
            starts.append(now)
            now += max(SHORTEST, float(self.image.info.get("duration") or 100) / 1000)
        if not starts:
            raise InputError(f"{self.name}: no frame of it can be read, because it is damaged: download it again")
        return starts, now

    def frames_at(self, times: Sequence[float]) -> list[Image.Image]:
        """The frames that are shown at ascending times, each once."""
        places = dict.fromkeys(max(0, bisect_right(self.starts, time) - 1) for time in times)
        frames = []
        with self._reading():
            for place in places:
                self.image.seek(self.first + place)
                frames.append(upright(self.image, self.name, self.limits))
        return frames

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """A caller's image is used by one thread, and left as it was."""
        if not self.given:
            yield
            return
        with PILLOW_IMAGES, _keeping_place(self.image):
            yield

    def close(self) -> None:
        """Let go of the file."""
        if not self.given:
            self.image.close()


def _opened(stream: BinaryIO) -> Image.Image:
    Image.init()
    if stream.read(4) in (b"\x89PNG", b"RIFF"):
        stream.seek(0)
        with stream:
            stream = io.BytesIO(readable(read_whole(stream, MAX_VIDEO_BYTES)))
    stream.seek(0)
    return Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])


def _frames_in(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


@contextmanager
def _keeping_place(image: Image.Image) -> Iterator[None]:
    """The image is at the same frame afterwards."""
    place = image.tell()
    try:
        yield
    finally:
        if image.tell() != place:
            image.seek(place)

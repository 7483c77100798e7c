"""Animated GIF, WebP and PNG through Pillow, which decodes them frame by frame."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO

from PIL import Image

from picscribe.errors import InputError
from picscribe.media.colour import to_rgb

FORMATS = ("GIF", "WEBP", "PNG")
SHORTEST = 0.02
"""Seconds that a frame is shown where the file says less: browsers take such frames for a tenth, players for a tick."""

MOST_FRAMES = 100_000


def is_animation(head: bytes, source: object) -> bool:
    """Whether what begins with `head` is an image file of several frames."""
    if not (head[:4] == b"GIF8" or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or b"acTL" in head):
        return False
    place = source.tell() if hasattr(source, "tell") else 0
    try:
        opened = io.BytesIO(source) if isinstance(source, bytes | bytearray) else source
        with Image.open(opened, formats=FORMATS) as image:  # type: ignore[arg-type]
            return getattr(image, "n_frames", 1) > 1
    except Exception:  # Pillow raises many types for damaged files
        return False
    finally:
        if hasattr(source, "seek"):
            source.seek(place)


class Animation:
    """The frames of an animation by time; a `Clip`."""

    def __init__(self, stream: BinaryIO, name: str, max_pixels: int) -> None:
        self.name, self.stream = name, stream
        try:
            self.image = Image.open(stream, formats=FORMATS)
            count = getattr(self.image, "n_frames", 1)
        except Exception as error:
            raise InputError(f"{name} cannot be read as an animation: {error}") from error
        width, height = self.image.size
        if width * height > max_pixels:
            raise InputError(f"{name} has frames of {width}×{height} pixels, over the limit of {max_pixels}: shrink it")
        if count > MOST_FRAMES:
            raise InputError(f"{name} has {count} frames, over the limit of {MOST_FRAMES}: cut it")
        self.starts, self.duration = self._times(count)

    def _times(self, count: int) -> tuple[list[float], float]:
        """When each frame begins, and when the last ends; a file that breaks off ends there."""
        starts, now = [], 0.0
        for number in range(count):
            try:
                self.image.seek(number)
                self.image.load()
            except Exception:
                break
            starts.append(now)
            now += max(SHORTEST, float(self.image.info.get("duration") or 100) / 1000)
        if not starts:
            raise InputError(f"{self.name}: no frame of it can be read: it is damaged")
        return starts, now

    def frames_at(self, times: Sequence[float]) -> list[Image.Image]:
        """The frames that are shown at ascending times, each once."""
        places = dict.fromkeys(max(0, bisect_right(self.starts, time) - 1) for time in times)
        frames = []
        for place in places:
            self.image.seek(place)
            frames.append(to_rgb(self.image.copy()))
        return frames

    def close(self) -> None:
        """Let go of the file."""
        self.image.close()
        self.stream.close()

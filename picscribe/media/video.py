"""Frames of videos: files, animations, folders and lists of images become a few upright RGB images, evenly spaced."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from PIL import Image

from picscribe.errors import ConfigurationError, InputError
from picscribe.media.animation import Animation, is_animation
from picscribe.media.folders import find_images
from picscribe.media.images import ImageLimits, ImageSource, open_image
from picscribe.media.signatures import START, container_format, may_be_animation
from picscribe.media.sources import MAX_VIDEO_BYTES, describe, head_of, open_stream
from picscribe.media.suffixes import IMAGE_SUFFIXES
from picscribe.media.video_file import VideoFile

VideoSource: TypeAlias = ImageSource | Sequence[ImageSource]

SHORTEST_WINDOW = 0.5
"""Seconds; what is left at the end of a video below that belongs to no window."""


@dataclass(frozen=True)
class VideoLimits:
    """What is taken at most: pixels of a frame, hours of a video, images of a folder or list, bytes of what is in
    memory."""

    max_pixels: int = 36_000_000
    max_hours: float = 24
    max_images: int = 1_000_000
    max_bytes: int = MAX_VIDEO_BYTES


@dataclass(frozen=True)
class Video:
    """A video to look at: a file (path, bytes or stream), an animation (a Pillow image of one too), a folder of frames,
    a list of images, or an array (frames, height, width, 3) of uint8.

    frames: how many to take; None for as many as the checkpoint has temporal embeddings. start, end: the part to look
    at, in seconds; of a folder, a list or an array, which have no times, there are no parts.
    Raises ConfigurationError for a number of frames below 1, and for times that are none.
    """

    source: VideoSource
    frames: int | None = None
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        if self.frames is not None:
            _check_count(self.frames)
        _check_times(self.start, self.end)


class Clip(Protocol):
    """What frames can be taken from, by time in seconds from 0 on."""

    duration: float

    def frames_at(self, times: Sequence[float]) -> list[Image.Image]:
        """The frames that are shown at ascending times, each frame once."""

    def close(self) -> None:
        """Let go of files."""


def read_frames(
    source: VideoSource,
    count: int = 6,
    start: float | None = None,
    end: float | None = None,
    limits: VideoLimits = VideoLimits(),
) -> list[Image.Image]:
    """`count` upright RGB frames, from the middle of as many equal stretches of time between `start` and `end`.

    A stretch's frame is the one that is shown at that time, so that a variable frame rate does not matter. Where there
    are fewer frames than asked for, each comes once. Files are searched, never decoded as a whole into memory; of one
    that is cut off or damaged the part that can be read counts.
    Raises InputError that names the source for what holds no frame, ConfigurationError for a count or times that cannot
    be.
    """
    _check_count(count)
    _check_times(start, end)
    if _has_no_times(source):
        if start is not None or end is not None:
            raise ConfigurationError(f"{describe_video(source)} has no times: leave out start and end")
        return _of_images(source, count, limits)
    clip = open_clip(source, limits)
    try:
        first, last = _span(clip, source, start, end)
        frames = clip.frames_at(_middles(first, last, count))
        if len(frames) < count and clip.duration < last:  # it broke off: share out what there is
            frames = clip.frames_at(_middles(first, max(first, clip.duration), count))
    finally:
        clip.close()
    if not frames:
        raise InputError(
            f"{describe_video(source)}: no frame of it can be read, because it is damaged or empty: download it again"
        )
    return frames


def duration_of(source: VideoSource, limits: VideoLimits = VideoLimits()) -> float:
    """Seconds that a video file or animation lasts; errors as of `read_frames`."""
    if _has_no_times(source):
        raise ConfigurationError(f"{describe_video(source)} has no times: give a video file or an animation")
    clip = open_clip(source, limits)
    try:
        return clip.duration
    finally:
        clip.close()


def windows(
    source: VideoSource, every: float, start: float | None = None, end: float | None = None
) -> list[tuple[float, float]]:
    """A video cut into stretches of `every` seconds: (start, end) of each; a last one below half a second is left out.

    Errors as of `read_frames`; ConfigurationError for an `every` that is not above 0.
    """
    if not isinstance(every, int | float) or isinstance(every, bool) or not 0 < every < math.inf:
        raise ConfigurationError(f"every must be a number of seconds above 0, not {every!r}")
    _check_times(start, end)
    if _has_no_times(source):
        raise ConfigurationError(f"{describe_video(source)} has no times: leave out every")
    clip = open_clip(source, VideoLimits())
    clip.close()
    first, last = _span(clip, source, start, end)
    count = max(1, math.ceil((last - first - min(SHORTEST_WINDOW, every / 2)) / every))
    return [(first + i * every, min(last, first + (i + 1) * every)) for i in range(count)]


def is_video(source: object) -> bool:
    """Whether it is a video or an animation, told from the content; False for what cannot be read.

    Of a stream the content must be held first (see `sources.hold`).
    """
    if isinstance(source, np.ndarray):
        return source.ndim == 4
    return container_format(head_of(source)) is not None or is_animation(source)


def open_clip(source: VideoSource, limits: VideoLimits) -> Clip:
    """What frames can be taken from. Raises InputError for what is no video."""
    name = describe_video(source)
    images = ImageLimits(max_pixels=limits.max_pixels)
    if isinstance(source, Image.Image):
        return _within(limits, Animation(source, name, images), name)
    stream = open_stream(source, limits.max_bytes)
    try:
        head = stream.read(START)
        stream.seek(0)
        if not head:
            raise InputError(f"{name} is empty (0 bytes): download or save it again")
        if (form := container_format(head)) is not None:
            return _within(limits, VideoFile(stream, form, name, limits.max_pixels), name)
        if may_be_animation(head):
            return _within(limits, Animation(stream, name, images), name)
        raise InputError(
            f"{name} is not in a known video format (such as MOV, WebM, MKV, AVI or GIF): convert it to MP4"
        )
    except BaseException:
        stream.close()
        raise


def _within(limits: VideoLimits, clip: Clip, name: str) -> Clip:
    if clip.duration > limits.max_hours * 3600:
        clip.close()
        hours = f"{clip.duration / 3600:.1f} hours, over the limit of {limits.max_hours}"
        raise InputError(f"{name} lasts {hours}: cut it")
    return clip


def describe_video(source: object) -> str:
    """How an error names a video."""
    if isinstance(source, list | tuple):
        return f"video of {len(source)} images"
    return describe(source).replace("image of", "video of")


def _has_no_times(source: object) -> bool:
    """Whether it is a list, an array or a folder of frames."""
    return isinstance(source, list | tuple | np.ndarray) or (
        isinstance(source, str | os.PathLike) and os.path.isdir(source)
    )


def _of_images(source: object, count: int, limits: VideoLimits) -> list[Image.Image]:
    """Frames of a folder, list or array, in its order; of more images than `count`, the middles of equal stretches."""
    if isinstance(source, list | tuple | np.ndarray):
        if isinstance(source, np.ndarray) and source.ndim != 4:
            raise InputError(f"{describe_video(source)} is not a video: give uint8 of (frames, height, width, 3)")
        images: Sequence[ImageSource] = source  # type: ignore[assignment]
        if not len(images):
            raise InputError("the video has no images: give at least one")
    else:
        images = [f for f in find_images(Path(str(source))).files if f.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            raise InputError(f"{source}: no images in this folder: give one that holds a video's frames")
    if len(images) > limits.max_images:
        raise InputError(
            f"{describe_video(source)}: {len(images)} images, over the limit of {limits.max_images}: give fewer"
        )
    places = range(len(images))
    if len(images) > count:
        places = [int((i + 0.5) * len(images) / count) for i in range(count)]  # type: ignore[assignment]
    return [open_image(images[place], ImageLimits(max_pixels=limits.max_pixels)) for place in places]


def _middles(first: float, last: float, count: int) -> list[float]:
    return [first + (i + 0.5) * (last - first) / count for i in range(count)]


def _span(clip: Clip, source: object, start: float | None, end: float | None) -> tuple[float, float]:
    first, last = start or 0.0, clip.duration if end is None else min(end, clip.duration)
    if first and first >= clip.duration:
        raise InputError(
            f"{describe_video(source)} lasts {clip.duration:.2f} s, so it has nothing at {first:g} s: lower start"
        )
    return first, last


def _check_count(count: object) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ConfigurationError(f"frames must be a whole number of at least 1, not {count!r}")


def _check_times(start: float | None, end: float | None) -> None:
    for name, value in (("start", start), ("end", end)):
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
            raise ConfigurationError(f"{name} must be a number of seconds from 0 on, not {value!r}")
    if end is not None and end <= (start or 0):
        raise ConfigurationError(f"end ({end}) must come after start ({start or 0})")

"""From an image or a video to the pixels that a network takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from picscribe.errors import InputError
from picscribe.media.images import ImageSource
from picscribe.media.preprocessing import Preprocessing
from picscribe.media.sources import hold
from picscribe.media.video import Video, describe_video, is_video, read_frames

if TYPE_CHECKING:
    from torch import Tensor


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
    given = held(source)
    if not isinstance(given, Video):
        if not (is_video(given) if most else getattr(given, "ndim", 0) == 4):
            return preprocessing.read_array(given)  # type: ignore[arg-type]
        given = Video(given)  # type: ignore[arg-type]
    wanted = given.frames or most
    if not 1 <= wanted <= max(most, 1):
        raise InputError(f"{describe_video(given.source)} {_why_not(wanted, most, name)}")
    frames = read_frames(given.source, wanted, given.start, given.end)
    pixels = [preprocessing.array(frame) for frame in frames]
    return np.stack(pixels) if most else pixels[0]


def _checked(pixels: Tensor, preprocessing: Preprocessing, most: int, name: str) -> Tensor:
    """A tensor of pixels that were made before, of an image or a video's frames."""
    if pixels.dim() != 4:
        return preprocessing.read(pixels)
    if not 1 <= len(pixels) <= most:
        takes = f"videos of at most {most} frames" if most else "photos"
        raise InputError(f"a tensor of {len(pixels)} frames cannot be used: {name} takes {takes}")
    import torch

    return torch.stack([preprocessing.read(frame) for frame in pixels])


def _why_not(wanted: int, most: int, name: str) -> str:
    if most:
        return f"is to be seen in {wanted} frames, but {name} takes at most {most}: ask for no more"
    return f"is a video, and {name} takes photos: ask for 1 frame, the middle one"

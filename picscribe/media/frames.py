"""From an image or a video to the pixels that a network takes."""

import torch
from torch import Tensor

from picscribe.errors import InputError
from picscribe.media.images import ImageSource
from picscribe.media.preprocessing import Preprocessing, stacked
from picscribe.media.video import Video, describe_video, is_video, read_frames


def pixels_of(source: ImageSource | Tensor | Video, preprocessing: Preprocessing, most: int, name: str) -> Tensor:
    """Pixels (3, height, width) of an image, (F, 3, height, width) of a video, for a network of up to `most` frames.

    A network of photos, `most` 0, takes a video's middle frame where one is asked for. `name` is the checkpoint's.
    Raises InputError for what cannot be used.
    """
    if isinstance(source, Tensor) and source.dim() == 4 and 1 <= len(source) <= most:
        return torch.stack([preprocessing.read(frame) for frame in source])
    if most and not isinstance(source, Video | Tensor) and is_video(source):
        source = Video(source)  # type: ignore[arg-type]
    if not isinstance(source, Video):
        return preprocessing.read(source)
    wanted = source.frames or most
    if not 1 <= wanted <= max(most, 1):
        raise InputError(f"{describe_video(source.source)} {_why_not(wanted, most, name)}")
    frames = read_frames(source.source, wanted, source.start, source.end)
    pixels = [preprocessing(frame) for frame in frames]
    return stacked(pixels) if most else pixels[0]


def _why_not(wanted: int, most: int, name: str) -> str:
    if most:
        return f"is to be seen in {wanted} frames, but {name} takes at most {most}: ask for no more"
    return f"is a video, and {name} takes photos: ask for 1 frame, the middle one"

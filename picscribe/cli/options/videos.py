"""Options that say what of a video is looked at, and the videos that they make of a command line's arguments."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from picscribe.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from picscribe.cli.options.photos import Photo

Frames: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1, show_default=False, help="How many frames of a video to use. [default: as many as the model takes]"
    ),
]
Start: TypeAlias = Annotated[
    str | None, typer.Option(show_default=False, help="Where in the video to start: seconds, or 1:02:03.5.")
]
End: TypeAlias = Annotated[str | None, typer.Option(show_default=False, help="Where in the video to stop.")]
Every: TypeAlias = Annotated[
    str | None, typer.Option(show_default=False, help="Caption every stretch of this length, such as 10s or 1m.")
]
AsVideo: TypeAlias = Annotated[
    bool, typer.Option("--as-video", help="Treat each folder as a video, and its images as frames.")
]

CLOCK = re.compile(r"(?:(\d+):)?(?:(\d+):)?(\d+(?:\.\d+)?)")
LENGTH = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?")
UNITS = {"s": 1, "m": 60, "h": 3600, None: 1}


def seconds_of(text: str | None, option: str) -> float | None:
    """A time on the command line: 90, 1:30 or 0:01:30. Raises ConfigurationError for what is none."""
    if text is None:
        return None
    match = CLOCK.fullmatch(text.strip())
    if not match:
        raise ConfigurationError(f"{option} {text!r} is not a time: write seconds, or 1:02:03.5")
    parts = [float(part) for part in text.strip().split(":")]
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


def length_of(text: str | None) -> float | None:
    """A stretch of time on the command line: 10, 10s, 1.5m. Raises ConfigurationError for what is none, or nothing."""
    if text is None:
        return None
    match = LENGTH.fullmatch(text.strip())
    if not match or not float(match[1]):
        raise ConfigurationError(f"--every {text!r} is not a duration: write 10s or 1m")
    return float(match[1]) * UNITS[match[2]]


@dataclass(frozen=True)
class Part:
    """What of a video is wanted: frames, from when to when, and for how long each; times in seconds."""

    frames: int | None
    first: float | None
    last: float | None
    every: float | None

    @property
    def timed(self) -> bool:
        """Whether it needs something that lasts."""
        return any(time is not None for time in (self.first, self.last, self.every))


def find_videos(
    photos: "Sequence[Photo]",
    frames: int | None,
    start: str | None,
    end: str | None,
    every: str | None,
    *,
    alone: bool = True,
) -> "list[Photo]":
    """Photos as they are, videos as `Video`s of the part that is wanted, one for each stretch of `every`.

    Where no option asks for a video, files that are videos stay as they are too: the model knows what it takes. What
    has no times has an error in its place where times are asked for.
    Raises ConfigurationError for times that are none and, unless there are more photos than these (not `alone`), for
    frames where nothing is a video.
    """
    part = Part(frames, seconds_of(start, "--start"), seconds_of(end, "--end"), length_of(every))
    if part.frames is None and not part.timed:
        return list(photos)
    from picscribe.media.video import Video

    found = [one for photo in photos for one in _cut(photo, part)]
    if alone and (frames or 1) > 1 and not any(isinstance(one.source, Video | InputError) for one in found):
        raise ConfigurationError(f"--frames {frames} is for videos and animations, and none is given: leave it out")
    return found


def _cut(photo: "Photo", part: Part) -> "list[Photo]":
    """A photo as it is; of a video the part, or its stretches."""
    from picscribe.media.sources import head_of, hold
    from picscribe.media.video import Video, is_video, windows

    if isinstance(photo.source, InputError):
        return [photo]
    try:
        # A stream is read once, whatever is asked about it afterwards.
        source: Any = hold(photo.source.source if isinstance(photo.source, Video) else photo.source)
        if not (isinstance(photo.source, Video) or is_video(source)):
            if part.timed and head_of(source):
                problem = "is a photo, or not in a known video format, and has no times"
                raise InputError(f"{photo.path} {problem}: leave out --start, --end and --every")
            return [replace(photo, source=source)]
        if part.every is None:
            return [replace(photo, source=Video(source, part.frames, part.first, part.last))]
        spans = windows(source, part.every, part.first, part.last)
    except InputError as error:
        return [replace(photo, source=error)]
    return [replace(photo, source=Video(source, part.frames, *span), times=span) for span in spans]


def clock(seconds: float, mark: str = ".") -> str:
    """Hours, minutes, seconds and thousandths: 00:01:02.500."""
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}{mark}{whole % 1000:03}"


def subtitles(spans: "Sequence[tuple[tuple[float, float], str]]", form: str) -> str:
    """Captions of stretches of time as an SRT or WebVTT file."""
    mark = "," if form == "srt" else "."
    blocks = []
    for number, ((start, end), text) in enumerate(spans, 1):
        head = f"{number}\n" if form == "srt" else ""
        said = text.replace("-->", "→")
        blocks.append(f"{head}{clock(start, mark)} --> {clock(end, mark)}\n{said}\n")
    return ("WEBVTT\n\n" if form == "vtt" else "") + "\n".join(blocks)

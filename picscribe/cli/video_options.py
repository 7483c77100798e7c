"""Options that say what of a video is looked at, and the videos that they make of a command line's arguments."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from picscribe.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from picscribe.cli.photos import Photo

Frames: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, show_default=False, help="Frames of a video to look at. [default: as many as the model takes]"),
]
Start: TypeAlias = Annotated[
    str | None, typer.Option(show_default=False, help="Look at a video from here on: seconds, or 1:02:03.5.")
]
End: TypeAlias = Annotated[str | None, typer.Option(show_default=False, help="Look at a video up to here.")]
Every: TypeAlias = Annotated[
    str | None, typer.Option(show_default=False, help="A caption for every so much of a video, such as 10s or 1m.")
]
AsVideo: TypeAlias = Annotated[
    bool, typer.Option("--as-video", help="Folders are videos, the images in them their frames.")
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
        raise ConfigurationError(f"{option} {text!r} is no time: write seconds, or 1:02:03.5")
    parts = [float(part) for part in text.strip().split(":")]
    return sum(part * 60**place for place, part in enumerate(reversed(parts)))


def length_of(text: str | None) -> float | None:
    """A stretch of time on the command line: 10, 10s, 1.5m. Raises ConfigurationError for what is none, or nothing."""
    if text is None:
        return None
    match = LENGTH.fullmatch(text.strip())
    if not match or not float(match[1]):
        raise ConfigurationError(f"--every {text!r} is no stretch of time: write 10s or 1m")
    return float(match[1]) * UNITS[match[2]]


def find_videos(
    photos: "Sequence[Photo]", frames: int | None, start: str | None, end: str | None, every: str | None
) -> "list[Photo]":
    """Photos as they are, videos as `Video`s of the part that is wanted, one for each stretch of `every`.

    Where no option asks for a video, files that are videos stay as they are too: the model knows what it takes.
    """
    from picscribe.media.video import Video, is_video, windows

    first, last, length = seconds_of(start, "--start"), seconds_of(end, "--end"), length_of(every)
    if frames is None and first is None and last is None and length is None:
        return list(photos)
    found: list[Photo] = []
    for photo in photos:
        source = photo.source.source if isinstance(photo.source, Video) else photo.source
        if isinstance(source, InputError) or not (isinstance(photo.source, Video) or is_video(source)):
            found.append(photo)
            continue
        try:
            cut = windows(source, length, first, last) if length is not None else None
        except InputError as error:
            found.append(replace(photo, source=error))
            continue
        if cut is None:
            found.append(replace(photo, source=Video(source, frames, first, last)))
        else:
            found += [replace(photo, source=Video(source, frames, *span), times=span) for span in cut]
    return found


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

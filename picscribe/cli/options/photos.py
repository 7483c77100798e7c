"""What the arguments of `picscribe caption` name: files, the images in folders, standard input."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import typer

from picscribe.cli.output.terminal import report
from picscribe.errors import InputError
from picscribe.media.folders import find_images
from picscribe.media.sources import Content
from picscribe.media.suffixes import HEIC_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from picscribe.media.video import Video

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Photo:
    """One photo to caption, under the name that the output gives it, or why there is none."""

    path: str
    source: "str | Path | BinaryIO | Content | Video | InputError"
    times: tuple[float, float] | None = None
    """Of a video cut into stretches, from when to when."""


def _photos_in(folder: Path, sent: bool) -> list[Photo]:
    """Every image of a folder and those below it, and each folder below that cannot be read.

    Videos, files without an image's suffix and links to folders are counted on standard error. HEIC photos that cannot
    be read here, and are not `sent`, are one error together, which says how many there are.
    """
    try:
        found = find_images(folder)
    except InputError as error:
        return [Photo(str(folder), error)]
    images = [file for file in found.files if file.suffix.lower() in IMAGE_SUFFIXES]
    videos = sum(file.suffix.lower() in VIDEO_SUFFIXES for file in found.files)
    left_out = _left_out(videos, len(found.files) - len(images) - videos, len(found.linked))
    if not images and not found.unreadable:
        what = f"only {left_out}" if left_out else "no files"
        return [Photo(str(folder), InputError(f"{folder}: {what} in this folder: give one that holds images"))]
    if left_out:
        report(f"{folder}: skipped {left_out}")
    errors = [Photo(str(path), error) for path, error in found.unreadable.items()]
    heic = [image for image in images if image.suffix.lower() in HEIC_SUFFIXES]
    if heic and not sent and (remedy := _heic_remedy()):
        images = [image for image in images if image not in heic]
        count = "1 HEIC photo needs" if len(heic) == 1 else f"{len(heic)} HEIC photos need"
        errors.append(Photo(str(folder), InputError(f"{folder}: {count} pillow-heif: {remedy}")))
    return [Photo(str(image), image) for image in images] + errors


def _heic_remedy() -> str | None:
    """What makes HEIC photos readable here, if they are not."""
    from picscribe.media.images import HEIC_REMEDY, reads_heic

    return None if reads_heic() else HEIC_REMEDY


def _left_out(videos: int, files: int, links: int) -> str:
    """What of a folder is not looked at, in words; empty for nothing."""
    parts = []
    if videos:
        parts.append(f"{videos} {'video' if videos == 1 else 'videos'} (name them to caption them)")
    if files:
        parts.append(f"{files} {'file' if files == 1 else 'files'} without an image's suffix")
    if links:
        parts.append("1 link to a folder" if links == 1 else f"{links} links to folders")
    return ", ".join([*parts[:-2], " and ".join(parts[-2:])])


def find_photos(arguments: Sequence[str], as_video: bool = False, *, sent: bool = False) -> list[Photo]:
    """The photos that `arguments` (files, folders, `-`) name, in order; folders in natural order, recursively.

    With `as_video` a folder is one video. `sent` photos go to a service, which may read what cannot be read here.

    Anything that cannot hold a photo (an empty folder, an empty name, a closed standard input) is a Photo with an
    InputError. Raises typer.BadParameter for more than one `-`.
    """
    if arguments.count(STANDARD_INPUT) > 1:
        raise typer.BadParameter("'-' is standard input: it can be read only once")
    photos = []
    for argument in arguments:
        if argument == STANDARD_INPUT:
            photos.append(Photo(STANDARD_INPUT, _standard_input()))
        elif not argument:
            photos.append(Photo(argument, InputError("a photo's name is empty: name a file, a folder or -")))
        elif os.path.isdir(argument) and as_video:
            from picscribe.media.video import Video

            photos.append(Photo(argument, Video(argument)))
        elif os.path.isdir(argument):
            photos.extend(_photos_in(Path(argument), sent))
        else:
            photos.append(Photo(argument, argument))  # a Path would spoil an address: http://x becomes http:/x
    return photos


def source_of(argument: str) -> str | BinaryIO | InputError:
    """Where the one photo comes from that `argument` names: a file, or `-` for standard input."""
    return _standard_input() if argument == STANDARD_INPUT else argument


def _standard_input() -> BinaryIO | InputError:
    if sys.stdin is None:  # started with `<&-`
        return InputError("standard input is closed: give a photo with `< photo.jpg`, or name it")
    return sys.stdin.buffer

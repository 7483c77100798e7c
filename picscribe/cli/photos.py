"""What the arguments of `picscribe caption` name: files, the images in folders, standard input."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import typer

from picscribe.cli.terminal import report
from picscribe.errors import InputError
from picscribe.media.images import IMAGE_SUFFIXES, find_images

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Photo:
    """One photo to caption, under the name that the output gives it, or why there is none."""

    path: str
    source: Path | BinaryIO | InputError


def _photos_in(folder: Path) -> list[Photo]:
    """Every image of a folder and those below it; files without an image's suffix are counted on standard error."""
    try:
        files = find_images(folder)
    except InputError as error:
        return [Photo(str(folder), error)]
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    others = len(files) - len(images)
    if not images:
        found = f"{others} files, none with an image's suffix" if others else "no files"
        return [Photo(str(folder), InputError(f"{folder}: {found} in this folder: give one that holds images"))]
    if others:
        report(f"{folder}: left out {others} {'file' if others == 1 else 'files'} without an image's suffix")
    return [Photo(str(image), image) for image in images]


def find_photos(arguments: Sequence[str]) -> list[Photo]:
    """The photos that `arguments` (files, folders, `-`) name, in order; folders in natural order, recursively.

    A folder that holds no image, or cannot be read, is a Photo with an InputError. Raises typer.BadParameter for more
    than one `-`.
    """
    if arguments.count(STANDARD_INPUT) > 1:
        raise typer.BadParameter("'-' is standard input: it can be read only once")
    photos = []
    for argument in arguments:
        if argument == STANDARD_INPUT:
            photos.append(Photo(STANDARD_INPUT, sys.stdin.buffer))
        elif os.path.isdir(argument):
            photos.extend(_photos_in(Path(argument)))
        else:
            photos.append(Photo(argument, Path(argument)))
    return photos


def in_batches(photos: Sequence[Photo], size: int) -> Iterator[list[Photo]]:
    """The photos in order, `size` at a time."""
    remaining = iter(photos)
    while batch := list(islice(remaining, size)):
        yield batch

"""What the names in a folder tell: which files are photos, which split a folder or file is; and its short texts."""

import contextlib
import re
from itertools import islice
from pathlib import Path, PurePath

from picscribe.errors import InputError
from picscribe.media.folders import files_below, is_hidden
from picscribe.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from picscribe.text_files import decode_text

LONGEST_TEXT = 1 << 20
"""The most bytes of a text file next to a photo, or of a text in a tar: a longer text is not a caption."""

LOOKS = 2000
"""Files looked at to know a folder's form: a folder of millions must not be walked for that."""

_SPLIT = re.compile(
    r"(?:^|[^a-zA-Z])(train|training|restval|val|valid|validation|dev|test|testing)(?:$|[^a-zA-Z])", re.IGNORECASE
)


def first_files(folder: Path) -> list[Path]:
    """The first LOOKS files below a folder, as far as they can be listed; never raises."""
    found: list[Path] = []
    with contextlib.suppress(InputError):
        found.extend(islice(files_below(folder), LOOKS))
    return found


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder by name, hidden ones left out; none where it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir())
    except OSError:
        return []


def has_image_suffix(path: PurePath) -> bool:
    """Whether the suffix is a photo's: a photo in a data set is known by that, and whether it opens shows later."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def has_video_suffix(path: PurePath) -> bool:
    """Whether the suffix is a video's."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def split_of_name(name: str) -> str:
    """The split that a file's or folder's name holds as a word, such as train in Train-00000.tar; "" for none."""
    found = _SPLIT.search(name)
    return found.group(1).lower() if found else ""


def split_of_path(path: PurePath) -> str:
    """The split of a path relative to the data set: of its first folder or, at last, file that names one."""
    return next(filter(None, map(split_of_name, path.parts)), "")


def read_short_text(path: Path) -> str:
    """A text file of a caption's size. Raises InputError that names it where it is none."""
    try:
        with path.open("rb") as stream:
            content = stream.read(LONGEST_TEXT + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return decode_short(content, str(path))


def decode_short(content: bytes, name: str) -> str:
    """The UTF-8 text, without byte order mark. Raises InputError that names it where it is none or is giant."""
    if len(content) > LONGEST_TEXT:
        raise InputError(
            f"{name}: is over {LONGEST_TEXT >> 20} MiB long, too long for a caption: shorten it, or move it away"
        )
    return decode_text(content, name)

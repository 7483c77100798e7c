"""Names of output files: after the photo, next to it or in a tree of the same shape."""

import hashlib
import os
import re
from typing import Literal, TypeAlias

from picscribe.bulk.entries import Entry, printable
from picscribe.errors import ConfigurationError

Names: TypeAlias = Literal["auto", "stem", "full"]
"""photo.txt unless another photo of the folder has that stem, then photo.jpg.txt; always photo.txt; photo.jpg.txt."""

LONGEST = 200
"""Bytes of a folder's or file's name that is made of an address."""

UNSAFE = re.compile(r'[<>:"|?*\\\0-\x1f]')
"""What an address may hold and a file name had better not."""


def path_for(entry: Entry, suffix: str, folder: str | None, full: bool) -> str:
    """The path of a sidecar with `suffix`: next to the photo, or at the same place below `folder` if that is given.

    Raises ConfigurationError for a photo that no file can be put next to.
    """
    name = entry.name if full else entry.name.removesuffix(entry.suffix)
    if folder is not None:
        return os.path.join(folder, *_parts(name, entry.remote)) + suffix
    if entry.remote or entry.part:
        inside = "behind an address" if entry.remote else f"in {printable(os.path.basename(entry.source))}"
        raise ConfigurationError(
            f"{printable(entry.path)} lies {inside}: nothing can be put next to it; name a folder, as in"
            f" --to {suffix.lstrip('.')}:captions"
        )
    beside = entry.source if full else entry.source.removesuffix(entry.suffix)
    path = beside + suffix
    return os.path.realpath(path) if os.path.islink(path) else path


def _parts(name: str, of_address: bool) -> list[str]:
    """A name's folders and file, none of which leads out of the folder that they are put in."""
    parts = [part for part in name.replace(os.sep, "/").split("/") if part not in ("", ".", "..")]
    return [_shortened(UNSAFE.sub("_", part)) for part in parts] if of_address else parts


def _shortened(part: str) -> str:
    raw = os.fsencode(part)
    if len(raw) <= LONGEST:
        return part
    digest = hashlib.blake2b(raw, digest_size=6).hexdigest()
    return os.fsdecode(raw[: LONGEST - 13]) + "-" + digest

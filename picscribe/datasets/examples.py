"""What every reader of a data set hands on: something to look at, and what people said of it."""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from picscribe.errors import InputError


class PackedImage(Protocol):
    """An image inside a larger file; `str()` names it in messages."""

    def read(self) -> bytes:
        """The image file's bytes. Raises InputError where they are not there."""
        ...


Source = Path | PackedImage


@dataclass(frozen=True, slots=True)
class FileSlice:
    """`length` bytes of `path` from `start` on, base64 text where `is_base64`: a row of a TSV, a member of a tar."""

    path: Path
    start: int
    length: int
    name: str
    is_base64: bool = False

    def read(self) -> bytes:
        """The image file's bytes. Raises InputError where the file is shorter, gone, or not base64."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.start)
                content = stream.read(self.length)
        except OSError as error:
            raise InputError(f"{self}: cannot be read ({error.strerror or error})") from error
        if len(content) < self.length:
            raise InputError(f"{self}: the file ends inside the image: download it again")
        if not self.is_base64:
            return content
        try:
            return base64.b64decode(content, validate=True)
        except binascii.Error as error:
            raise InputError(f"{self}: is not base64 text ({error}): write the image again") from error

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"


@dataclass(frozen=True, slots=True)
class Example:
    """A photo or video, the question asked about it if any, and what people said.

    id: names it in predictions and reports; a question's own id where there are questions.
    texts: the captions, the answers (one an annotator), or the one class name; none where the data set keeps them back.
    split: as the data set names it, "" where it has none. where: the place it was read from, for messages.
    """

    id: str
    source: Source
    texts: tuple[str, ...]
    question: str = ""
    split: str = ""
    where: str = ""

    def image(self) -> Path | bytes:
        """What to open. Raises InputError where a packed image is not there."""
        return self.source if isinstance(self.source, Path) else self.source.read()


@dataclass(frozen=True, slots=True)
class Oddity:
    """A row that cannot be used as it stands: where it is and what is wrong with it."""

    where: str
    problem: str
    split: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"

"""A process that turns files into pixels, one after the other, and that may hang or die of them.

It runs `main`, reads requests from standard input and answers on standard output: a line of JSON each way, followed by
as many bytes as it says.
"""

import hashlib
import importlib
import io
import json
import os
import re
import signal
import stat
import sys
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from picscribe.bulk.entries import digest_of
from picscribe.bulk.failures import EntryError
from picscribe.bulk.inputs.fetching import kind_of, read_file
from picscribe.errors import InputError

GRACE = 10
"""Seconds beyond the limit after which a worker ends itself, should nobody be there to end it."""

TOO_LARGE = re.compile(r"over the limit|too many pixels|more memory|one side over")
"""What our own errors say of photos that are sound but too large."""

CHUNK = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How a worker reads: as the checkpoint wants its pixels, and within limits.

    preprocessing: the fields of `Preprocessing`. most: frames that the network takes, 0 for photos. frames: of a video.
    seconds: wall-clock time of one file. memory: bytes beyond what the idle process needs.
    """

    preprocessing: dict[str, Any]
    name: str
    most: int = 0
    frames: int | None = None
    seconds: float = 60
    memory: int = 2 << 30
    max_pixels: int = 89_478_485
    max_bytes: int = 256 << 20

    def encode(self) -> str:
        """As one argument of a command."""
        return json.dumps(asdict(self))


class Reader:
    """Files in, pixels out, in this process."""

    def __init__(self, settings: Settings) -> None:
        from picscribe.media.images import ImageLimits
        from picscribe.media.preprocessing import Preprocessing

        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.preprocessing.items()}
        self.settings, self.preprocessing = settings, Preprocessing(**fields)
        self.limits = ImageLimits(max_pixels=settings.max_pixels, max_bytes=settings.max_bytes)

    def read(self, source: str, where: str, content: bytes | None) -> tuple[bytes, Any]:
        """Digest and pixels of a file, or of its `content` where that is given: as `pixels_of`, but as an array.

        Raises EntryError.
        """
        try:
            return self._read(source, where, content)
        except EntryError:
            raise
        except InputError as error:
            reason = str(error).replace(source, where)
            raise EntryError("too-large" if TOO_LARGE.search(reason) else "unreadable", reason) from None

    def _read(self, source: str, where: str, content: bytes | None) -> tuple[bytes, Any]:
        from picscribe.media.images import open_image
        from picscribe.media.preprocessing import array_of
        from picscribe.media.video import Video

        size = _size_of(source, where) if content is None else len(content)
        if self._is_video(source if content is None else content):
            digest = _digest_of_file(source, where) if content is None else digest_of(content)
            video = Video(source if content is None else content, self.settings.frames or self.settings.most or 1)
            return digest, array_of(video, self.preprocessing, self.settings.most, self.settings.name)
        if size > self.limits.max_bytes:
            raise EntryError("too-large", f"{where} is {size} bytes long, over the limit of {self.limits.max_bytes}")
        if content is None:
            content = read_file(source, where, self.limits.max_bytes)
        if not content:
            raise EntryError("unreadable", f"{where} is empty (0 bytes): download it again")
        stream = io.BytesIO(content)
        stream.name = where  # what errors call it
        image = open_image(stream, self.limits, at_least=self.preprocessing.detail * self.preprocessing.size)
        return digest_of(content), self.preprocessing.array(image)

    def _is_video(self, source: str | bytes) -> bool:
        """Whether to take frames of it. To a model of photos an animation is a photo, its first frame."""
        from picscribe.media.signatures import container_format
        from picscribe.media.sources import head_of
        from picscribe.media.video import is_video

        return is_video(source) if self.settings.most else container_format(head_of(source)) is not None


def _size_of(source: str, where: str) -> int:
    """How long a file is. Raises EntryError for what is missing, or no regular file, which could be waited for."""
    try:
        found = os.stat(source)
        if not stat.S_ISREG(found.st_mode):
            raise EntryError("unreadable", f"{where} is a folder, pipe or device: give a file")
        with open(source, "rb"):  # whether this user may
            return found.st_size
    except (OSError, ValueError) as error:
        kind: Any = kind_of(error) if isinstance(error, OSError) else "missing"
        raise EntryError(kind, f"{where} cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _digest_of_file(source: str, where: str) -> bytes:
    """As `digest_of` of the file's bytes, a piece at a time."""
    try:
        with open(source, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise EntryError(kind_of(error), f"{where} cannot be read ({error.strerror or error})") from error
    return digest.digest()


def _limit_memory(more: int) -> None:
    """Let this process have so many bytes beyond what it has; where the system cannot, there is no limit."""
    try:
        import resource

        with open("/proc/self/statm", "rb") as stream:
            now = int(stream.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))
    except (ImportError, OSError, ValueError):
        return


def _serve(reader: Reader, requests: BinaryIO, answers: BinaryIO) -> None:
    seconds = int(reader.settings.seconds) + GRACE
    while line := requests.readline():
        request = json.loads(line)
        content = requests.read(request["size"]) if "size" in request else None
        if hasattr(signal, "alarm"):
            signal.alarm(seconds)  # its default action ends the process, whatever it is doing
        try:
            digest, array = reader.read(request["source"], request["where"], content)
            header: dict[str, Any] = {"digest": digest.hex(), "shape": array.shape, "size": array.nbytes}
            body: Any = array.data.cast("B") if array.flags.c_contiguous else array.tobytes()
        except EntryError as error:
            header, body = {"kind": error.kind, "reason": str(error), "size": 0}, b""
        except MemoryError:
            reason = f"{request['where']} needs more memory than --max-memory allows: shrink it"
            header, body = {"kind": "too-large", "reason": reason, "size": 0}, b""
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        answers.write(json.dumps(header).encode() + b"\n")
        answers.write(body)
        answers.flush()


def main() -> None:
    """Read files until standard input ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with answers
    reader = Reader(Settings(**json.loads(sys.argv[1])))
    importlib.import_module("picscribe.media.preprocessing")  # before its memory is measured
    _limit_memory(reader.settings.memory)
    answers.write(b"{}\n")
    answers.flush()
    _serve(reader, requests, answers)

"""Streams of every kind, held once: many readers and threads see the same bytes, within bounds."""

import gzip
import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from picscribe.errors import InputError
from picscribe.media import open_image, sources
from picscribe.media.sources import Content, hold, open_stream, read_whole
from picscribe.media.video import is_video

CONTENT = bytes(range(256)) * 40


def held(source: object) -> Content:
    content = hold(source)
    assert isinstance(content, Content)
    return content


class Trickle(io.RawIOBase):
    """Gives at most seven bytes at a time, as a socket may."""

    def __init__(self, content: bytes) -> None:
        self.content, self.name = content, "trickle"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block, self.content = self.content[: min(7, len(buffer))], self.content[min(7, len(buffer)) :]
        buffer[: len(block)] = block
        return len(block)


def streams(folder: Path) -> dict[str, Any]:
    """Open streams over CONTENT, of many classes."""
    plain, packed, archive = folder / "plain", folder / "packed.gz", folder / "archive.zip"
    plain.write_bytes(CONTENT)
    packed.write_bytes(gzip.compress(CONTENT))
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writing:
        writing.writestr("inside", CONTENT)
    reading, end = os.pipe()
    with os.fdopen(end, "wb") as writing_end:
        writing_end.write(CONTENT)  # it fits into a pipe
    return {
        "buffered": plain.open("rb"),
        "unbuffered": plain.open("rb", buffering=0),
        "read and written": plain.open("r+b"),
        "in memory": io.BytesIO(CONTENT),
        "buffered memory": io.BufferedReader(io.BytesIO(CONTENT)),  # type: ignore[arg-type]
        "unpacked": gzip.open(packed),
        "out of an archive": zipfile.ZipFile(archive).open("inside"),
        "a pipe": os.fdopen(reading, "rb", buffering=0),
        "a trickle": Trickle(CONTENT),
    }


def test_every_kind_of_stream_is_held_whole(tmp_path: Path) -> None:
    for name, stream in streams(tmp_path).items():
        content = held(stream)
        stream.close()  # what is held does not need it
        assert content.open().read() == CONTENT, name
        assert content.open().read() == CONTENT, name
        assert read_whole(content, len(CONTENT)) == CONTENT


def test_a_stream_is_read_from_its_position(tmp_path: Path) -> None:
    for name, stream in streams(tmp_path).items():
        if name in ("a pipe", "a trickle"):
            continue
        stream.seek(1000)
        assert held(stream).open().read() == CONTENT[1000:], name
        assert stream.tell() == 1000


def test_a_stream_at_its_end_says_so() -> None:
    with pytest.raises(InputError, match=r"is at its end: go back with seek\(0\)"):
        stream = io.BytesIO()
        Image.new("RGB", (4, 4)).save(stream, "PNG")
        open_image(stream)


def test_a_plain_file_stays_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long video that is given open needs no more memory than by its path."""
    path = tmp_path / "long"
    with path.open("wb") as file:
        file.truncate(3 * 1024**3)  # a hole, which takes no room
        file.seek(0)
        file.write(b"\x1aE\xdf\xa3")
    monkeypatch.setattr(sources, "_read_stream", lambda *_: pytest.fail("it was read into memory"))
    with path.open("rb") as file:
        content = held(file)
    stream = content.open()
    assert stream.read(4) == b"\x1aE\xdf\xa3"
    assert stream.seek(-10, os.SEEK_END) == 3 * 1024**3 - 10
    assert stream.read() == bytes(10)
    assert stream.seek(2, os.SEEK_SET) == 2 and stream.read(2) == b"\xdf\xa3"
    with pytest.raises(ValueError, match="before the beginning"):
        stream.seek(-1)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux shows them")
def test_descriptors_are_closed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with (tmp_path / "file").open("rb") as file:
            content = held(file)
        content.open().read(1)
    del content
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_threads_read_one_open_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    with (tmp_path / "file").open("rb") as file:
        content = held(file)
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: content.open().read(), range(200)))
    assert found == {CONTENT}


class Endless(io.RawIOBase):
    """A stream that never ends, behind a beginning."""

    def __init__(self, head: bytes) -> None:
        self.head, self.given = head, 0

    def read(self, size: int = -1) -> bytes:
        assert 0 <= size <= 1 << 20
        self.given += size
        head, self.head = self.head[:size], self.head[size:]
        return head + bytes(size - len(head))


@pytest.mark.parametrize("head", [b"\xff\xd8\xff", b"GIF89a", b"\x1aE\xdf\xa3", b""])
def test_an_endless_stream_ends_at_the_limit(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_IMAGE_BYTES", 50_000)
    monkeypatch.setattr(sources, "MAX_VIDEO_BYTES", 3_000_000)
    most = 50_000 if head in (b"", b"\xff\xd8\xff") else 3_000_000
    stream = Endless(head)
    with pytest.raises(InputError, match=f"longer than the limit of {most} bytes"):
        hold(stream)
    assert stream.given <= most + 2048


def test_the_kind_of_a_stream_is_found_from_its_content(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime")]
    for form in ("GIF", "PNG", "WEBP", "AVIF"):
        if form == "AVIF" and "AVIF" not in Image.SAVE:
            continue
        stream = io.BytesIO()
        frames[0].save(stream, form, save_all=True, append_images=frames[1:], duration=100)
        stream.seek(0)
        assert is_video(held(stream)) and is_video(stream.getbuffer()) and is_video(stream.getvalue())
        with Image.open(stream) as image:
            assert is_video(image)
        still = io.BytesIO()
        frames[0].save(still, form)
        assert not is_video(still.getvalue()) and not is_video(Image.open(still))


def test_an_animation_is_known_behind_a_long_profile() -> None:
    """The chunk that says so comes after 50 kB of colour profile."""
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime")]
    stream = io.BytesIO()
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:], icc_profile=os.urandom(50_000))
    assert stream.getvalue().index(b"acTL") > 50_000
    assert is_video(stream.getvalue())


@pytest.mark.parametrize("view", [memoryview(CONTENT)[::2], memoryview(CONTENT).cast("I")])
def test_odd_views_of_memory(view: memoryview) -> None:
    assert read_whole(view, len(CONTENT)) == view.tobytes() == open_stream(view, len(CONTENT)).read()
    with pytest.raises(InputError, match="longer than the limit"):
        read_whole(view, view.nbytes - 1)
    assert not is_video(view)

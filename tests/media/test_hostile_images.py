"""Broken and hostile images: each is one InputError that names the file and says what to do, never a traceback."""

import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from picscribe.errors import InputError
from picscribe.media import ImageLimits, open_image

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))


def encode(format: str, image: Image.Image = NOISE, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def half(format: str, **options: object) -> bytes:
    content = encode(format, **options)
    return content[: len(content) // 2]


def png_chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    crc = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(width: int, height: int, *chunks: bytes, bits: int = 8, colour: int = 2) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IEND", b"")


def png_bomb() -> bytes:
    """50,000 × 50,000 pixels of zeros that would be 7.5 GB in memory, in a few kB."""
    return png(50_000, 50_000, png_chunk(b"IDAT", zlib.compress(b"\0" * 4_000_000, 9)))


def jpeg_of_size(width: int, height: int) -> bytes:
    content = bytearray(encode("JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def bmp_of_size(width: int, height: int) -> bytes:
    content = bytearray(encode("BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def gif_of_size(width: int, height: int) -> bytes:
    content = bytearray(encode("GIF"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def icon_bomb() -> bytes:
    """An icon whose directory says 16 × 16 and whose picture is 20,000 × 20,000."""
    inner = png(20_000, 20_000, png_chunk(b"IDAT", zlib.compress(b"\0" * 100_000)))
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def tiff_of_size(width: int, height: int) -> bytes:
    content = bytearray(encode("TIFF"))
    entries = struct.unpack_from("<I", content, 4)[0]
    for index in range(struct.unpack_from("<H", content, entries)[0]):
        at = entries + 2 + 12 * index
        tag = struct.unpack_from("<H", content, at)[0]
        if tag in (256, 257):
            struct.pack_into("<HHII", content, at, tag, 4, 1, width if tag == 256 else height)
    return bytes(content)


def webp_of_size(width: int, height: int) -> bytes:
    content = bytearray(encode("WEBP", quality=80))
    at = content.index(b"\x9d\x01\x2a") + 3
    content[at : at + 4] = struct.pack("<HH", width, height)
    return bytes(content)


def text_bomb() -> bytes:
    """A PNG whose comment unpacks to 100 MB."""
    comment = png_chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"a" * 100_000_000, 9))
    return png(4, 4, comment, png_chunk(b"IDAT", zlib.compress(b"\0" * 52)))


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(/tmp/owned) (w) file closefile showpage\n"

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    # what it is → its content, what the error says of it
    "empty.jpg": (lambda: b"", "is empty"),
    "one_byte.png": (lambda: b"\x89", "not an image"),
    "text.jpg": (lambda: b"This is no photo.\n" * 99, "not an image"),
    "json.png": (lambda: b'{"error": "not found"}', "not an image"),
    "zeros.png": (lambda: b"\0" * 4096, "not an image"),
    "noise.jpg": (lambda: np.random.default_rng(1).bytes(4096), "not an image"),
    "page.jpg": (lambda: b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "drawing.png": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "entities.svg": (lambda: b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><svg>&b;</svg>', "SVG"),
    "document.jpg": (lambda: b"%PDF-1.7\n", "PDF"),
    "program.jpg": (lambda: EPS, "PostScript"),
    "preview.eps": (lambda: b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, len(EPS)) + b"\0" * 18 + EPS, "PostScript"),
    "real.eps": (lambda: encode("EPS"), "PostScript"),
    "metafile.wmf": (lambda: b"\xd7\xcd\xc6\x9a" + b"\0" * 60, "not an image"),
    "gzip.fits": (lambda: b"SIMPLE  =                    T" + b" " * 2850, "not an image"),
    "pointer.png": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "phone.jpg": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC|damaged or incomplete"),
    "phone.jxl": (lambda: b"\xff\x0a\x4a\x12", "JPEG XL"),
    "boxed.jxl": (lambda: b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    "film.jpg": (lambda: b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "video"),
    "archive.png": (lambda: b"PK\x03\x04" + b"\0" * 40, "archive"),
    "only_magic.png": (lambda: b"\x89PNG\r\n\x1a\n", "damaged or incomplete"),
    "only_magic.jpg": (lambda: b"\xff\xd8\xff", "damaged or incomplete"),
    "only_magic.gif": (lambda: b"GIF89a", "damaged or incomplete"),
    "half.jpg": (lambda: half("JPEG"), "damaged or incomplete"),
    "half_progressive.jpg": (lambda: half("JPEG", progressive=True), "damaged or incomplete"),
    "half.png": (lambda: half("PNG"), "damaged or incomplete"),
    "half.gif": (lambda: half("GIF"), "damaged or incomplete"),
    "half.bmp": (lambda: half("BMP"), "damaged or incomplete"),
    "half.tif": (lambda: half("TIFF"), "damaged or incomplete"),
    "half_lzw.tif": (lambda: half("TIFF", compression="tiff_lzw"), "damaged or incomplete"),
    "half.webp": (lambda: half("WEBP"), "damaged or incomplete"),
    "half.jp2": (lambda: half("JPEG2000"), "damaged or incomplete"),
    "half.tga": (lambda: half("TGA"), "damaged or incomplete"),
    "half.ppm": (lambda: half("PPM"), "damaged or incomplete"),
    "half.ico": (lambda: half("ICO"), "damaged or incomplete"),
    "half.sgi": (lambda: half("SGI"), "damaged or incomplete"),
    "half.pcx": (lambda: half("PCX"), "damaged or incomplete"),
    "broken_pixels.png": (lambda: png(64, 64, png_chunk(b"IDAT", b"this is not zlib")), "damaged or incomplete"),
    "no_pixels.png": (lambda: png(64, 64), "damaged or incomplete"),
    "wrong_checksum.png": (lambda: png(64, 64, png_chunk(b"IDAT", b"", 1)), "damaged or incomplete"),
    "broken_header.png": (lambda: flipped(encode("PNG"), 18), "damaged or incomplete"),
    "broken_tables.jpg": (lambda: flipped(encode("JPEG"), 24), "damaged or incomplete"),
    "no_size.png": (lambda: png(0, 0), "there is no picture in it|damaged or incomplete"),
    "no_height.bmp": (lambda: bmp_of_size(9, 0), "there is no picture in it|not an image"),
    "bomb.png": (png_bomb, "pixels"),
    "bomb.jpg": (lambda: jpeg_of_size(65_500, 65_500), "pixels"),
    "bomb.bmp": (lambda: bmp_of_size(60_000, 60_000), "pixels"),
    "bomb.gif": (lambda: gif_of_size(65_535, 65_535), "pixels"),
    "bomb.tif": (lambda: tiff_of_size(1_000_000, 1_000_000), "pixels"),
    "bomb.webp": (lambda: webp_of_size(16_383, 16_383), "pixels|damaged or incomplete"),
    "bomb.ico": (icon_bomb, "pixels"),
    "bomb.ppm": (lambda: b"P6 2000000 2000000 255\n", "pixels"),
    "over_the_limit.png": (lambda: png(9_460, 9_460), r"over the limit of 89478485"),
    "negative.bmp": (lambda: bmp_of_size(-9, 9), "pixels|not an image"),
    "line.png": (lambda: encode("PNG", Image.new("RGB", (4000, 2))), "one side over 1000 times"),
    "huge_side.png": (lambda: png(2**31 - 1, 1), "pixels"),
    "digits.ppm": (lambda: b"P6 " + b"9" * 5000 + b" 1 255\n", "damaged or incomplete"),
    "not_digits.ppm": (lambda: b"P3 2 2 255\nred green blue", "damaged or incomplete"),
    "wrong_offset.tif": (lambda: b"II*\0\xff\xff\xff\x7f", "damaged or incomplete"),
    "loop.tif": (lambda: b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "damaged or incomplete"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore")
def test_hostile_file(name: str, tmp_path: Path) -> None:
    make, complaint = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(InputError, match=complaint) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"{path} ")
    assert "\n" not in str(caught.value)
    assert any(mark in str(caught.value) for mark in (": ", "; "))  # what to do follows


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("ignore")
def test_hostile_bytes_and_stream(name: str) -> None:
    content = HOSTILE[name][0]()
    with pytest.raises(InputError, match=f"image of {len(content)} bytes"):
        open_image(content)
    stream = io.BytesIO(content)
    stream.name = "upload.jpg"
    with pytest.raises(InputError, match=r"^upload\.jpg "):
        open_image(stream)


@pytest.mark.parametrize("name", ["bomb.png", "over_the_limit.png", "half.jpg"])
@pytest.mark.filterwarnings("error")
def test_warnings_as_errors_change_nothing(name: str) -> None:
    with pytest.raises(InputError, match=r"pixels|damaged or incomplete"):
        open_image(HOSTILE[name][0]())


def test_a_text_that_unpacks_to_gigabytes_is_passed_over() -> None:
    """No pixel depends on it, so it is never unpacked."""
    assert open_image(text_bomb()).size == (4, 4)


def test_size_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image over the limit is refused although its pixels are fine, and they are never decoded."""
    content = encode("PNG")
    decoded: list[Image.Image] = []
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: decoded.append(self))
    with pytest.raises(InputError, match="over the limit of 100"):
        open_image(content, ImageLimits(max_pixels=100))
    assert decoded == []


def test_an_eps_opened_by_the_caller_is_not_drawn() -> None:
    image = Image.open(io.BytesIO(encode("EPS")))
    with pytest.raises(InputError, match="format EPS"):
        open_image(image)


def test_a_pillow_image_whose_file_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    path.write_bytes(half("JPEG"))
    with pytest.raises(InputError, match=r"half\.jpg is damaged or incomplete"):
        open_image(Image.open(path))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda folder: folder, "is a folder"),
        (lambda folder: str(folder), "is a folder"),
        (lambda folder: folder / "nowhere.jpg", "does not exist: check the name"),
        (lambda folder: folder / "link.jpg", "does not exist"),
        (lambda folder: folder / "loop.jpg", "cannot be read"),
        (lambda folder: folder / "pipe.jpg", "is a pipe, device or socket"),
        (lambda folder: folder / "file" / "below.jpg", "cannot be read"),
        (lambda folder: "https://example.com/a.jpg", "does not exist: download it first"),
        (lambda folder: "", "does not exist"),
        (lambda folder: "a\0b.jpg", "cannot be read"),
        (lambda folder: "x" * 5000, "cannot be read"),
        (lambda folder: os.fsdecode(b"\xff.jpg"), "does not exist"),
        (lambda folder: os.devnull, "is a pipe, device or socket"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links are POSIX's here")
def test_paths_that_are_not_files(make: Callable[[Path], object], complaint: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(InputError, match=complaint) as caught:
        open_image(make(tmp_path))
    str(caught.value).encode("utf-8")  # printable whatever the name


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(encode("JPEG"))
    path.chmod(0)
    with pytest.raises(InputError, match=r"secret\.jpg may not be read by this user"):
        open_image(path)


def test_a_file_that_may_not_be_read_as_root_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "secret.jpg"
    path.write_bytes(encode("JPEG"))
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"secret\.jpg may not be read by this user"):
        open_image(path)


class BrokenStream(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise ConnectionResetError("peer has gone")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (None, "object of type NoneType is not an image"),
        (5, "object of type int is not an image"),
        ([b"a"], "object of type list is not an image"),
        (io.StringIO("text"), "gives str, not bytes: open it in binary mode"),
        (BrokenStream(), "cannot be read .peer has gone"),
        (io.BytesIO(), "is empty"),
        (np.zeros((4, 4)), r"array of shape \(4, 4\) and type float64 is not an image: give uint8"),
        (np.zeros((4, 4), bool), "give uint8"),
        (np.zeros((4, 4, 2), np.uint8), "give uint8"),
        (np.zeros((3, 4, 4, 3), np.uint8), "give uint8"),
        (np.zeros(4, np.uint8), "give uint8"),
        (np.zeros((), np.uint8), "give uint8"),
        (np.zeros((0, 4, 3), np.uint8), "4×0 pixels: there is no picture in it"),
        (np.zeros((4, 0), np.uint8), "0×4 pixels: there is no picture in it"),
        (np.broadcast_to(np.uint8(0), (100_000, 100_000, 3)), "over the limit"),
        (Image.new("RGB", (0, 4)), "0×4 pixels: there is no picture in it"),
        (Image.new("1", (1500, 1)), "one side over 1000 times"),
    ],
)
def test_objects_that_are_not_images(source: object, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        open_image(source)


def test_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("picscribe.media.images.to_rgb", exhaust)
    with pytest.raises(InputError, match="needs more memory than there is"):
        open_image(NOISE)


FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "TGA", "PPM", "PCX", "SGI", "ICO", "JPEG2000", "DDS"]
Image.init()
SOUND = {format: encode(format) for format in FORMATS}
if "AVIF" in Image.SAVE:
    SOUND["AVIF"] = encode("AVIF")


@given(
    format=st.sampled_from(sorted(SOUND)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    in_header=st.booleans(),
    cut=st.floats(0, 1),
)
@settings(max_examples=600, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_damaged_at_random(format: str, changes: list[tuple[float, int]], in_header: bool, cut: float) -> None:
    """Whatever is done to a file, it opens as RGB or fails as an InputError."""
    content = bytearray(SOUND[format])
    for where, value in changes:
        content[int(where * (min(len(content), 120) if in_header else len(content)))] = value
    if cut > 0.5:
        del content[int(len(content) * (cut - 0.5) * 2) :]
    try:
        opened = open_image(bytes(content), ImageLimits(max_pixels=4_000_000))
    except InputError:
        return
    assert opened.mode == "RGB" and opened.width * opened.height <= 4_000_000


@given(content=st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_any_bytes(content: bytes) -> None:
    try:
        assert open_image(content).mode == "RGB"
    except InputError as error:
        assert str(error).startswith(f"image of {len(content)} bytes")

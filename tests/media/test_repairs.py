"""Files that every viewer shows though they break their format's rules, with their pixels; half files stay errors."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from picscribe.errors import InputError
from picscribe.media import ImageLimits, open_image
from picscribe.media.video import is_video, read_frames

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Image appears to be a malformed MPO")

WIDTH, HEIGHT = 40, 24


def photo(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """A smooth picture whose four corners differ, with a pattern over it."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    smooth = np.stack([x, y, 1 - x * y], axis=2) * 200
    return Image.fromarray((smooth + np.random.default_rng(4).integers(0, 50, smooth.shape)).astype(np.uint8))


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def same(content: bytes, expected: Image.Image, tolerance: int = 0) -> bool:
    opened = open_image(content)
    assert (opened.mode, opened.size) == ("RGB", expected.size)
    return bool(np.abs(np.asarray(opened).astype(int) - np.asarray(expected.convert("RGB"))).max() <= tolerance)


# -- PNG --------------------------------------------------------------------------------------------------------------

PNG = encode(photo(), "PNG")
HEADER, REST = PNG[:33], PNG[33:]
ROWS = zlib.decompress(PNG[PNG.index(b"IDAT") + 4 : -16])
END = b"\0\0\0\0IEND\xaeB`\x82"


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    right = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", right if checksum is None else checksum)


ANCILLARY = {
    "tEXt": b"Comment\0words",
    "zTXt": b"Comment\0\0" + zlib.compress(b"words"),
    "iTXt": b"Comment\0\0\0\0\0words",
    "iCCP": b"sRGB\0\0" + zlib.compress(b"profile" * 30),
    "pHYs": struct.pack(">IIB", 2835, 2835, 1),
    "gAMA": struct.pack(">I", 45455),
    "cHRM": bytes(32),
    "sRGB": b"\0",
    "bKGD": bytes(6),
    "tIME": bytes(7),
    "eXIf": b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\3\0\0\0\0\0\0\0",
    "tRNS": struct.pack(">3H", *photo().getpixel((0, 0))),
    "acTL": struct.pack(">II", 2, 0),
    "prVt": b"a chunk of somebody's own",
}


@pytest.mark.parametrize("kind", ANCILLARY)
def test_a_wrong_checksum_of_an_ancillary_chunk(kind: str) -> None:
    """The chunk counts as not there; so does one that is cut short, or too long by far."""
    assert same(HEADER + chunk(kind.encode(), ANCILLARY[kind], 1) + REST, photo())
    assert not is_video(HEADER + chunk(kind.encode(), ANCILLARY[kind], 1) + REST)
    if kind != "eXIf":
        assert same(HEADER + chunk(kind.encode(), ANCILLARY[kind][:1] if kind == "tRNS" else b"") + REST, photo())


def test_sound_chunks_that_pixels_depend_on_count() -> None:
    turned = open_image(HEADER + chunk(b"eXIf", ANCILLARY["eXIf"]) + REST)
    assert np.array_equal(np.asarray(turned), np.asarray(photo().transpose(Image.Transpose.ROTATE_180)))
    clear = open_image(HEADER + chunk(b"tRNS", ANCILLARY["tRNS"]) + REST)
    assert clear.getpixel((0, 0)) == (255, 255, 255)


PROFILE = zlib.compress(bytes(3_000_000))


@pytest.mark.parametrize(
    "content",
    [
        HEADER + chunk(b"iCCP", b"odd\0\0" + PROFILE) + REST,
        HEADER + chunk(b"iCCP", b"odd\0\5" + PROFILE) + REST,
        HEADER + chunk(b"iCCP", b"odd\0\0no stream") + REST,
        HEADER + chunk(b"iCCP", b"no zero") + REST,
        HEADER + chunk(b"zTXt", b"odd\0\0" + PROFILE) + REST,
        PNG + b"what was glued to it" * 99,
        PNG[:-12],
        HEADER + chunk(b"IDAT", zlib.compress(ROWS)[:-4] + b"\0\0\0\1") + END,
        HEADER + chunk(b"IDAT", zlib.compress(ROWS)[:-4]) + END,
        HEADER + chunk(b"IDAT", zlib.compress(ROWS + bytes(500))) + END,
    ],
)
def test_other_odd_pngs(content: bytes) -> None:
    """Profiles of any size and kind; no end, or one too many; a wrong checksum of all pixels, none, more than all."""
    assert same(content, photo())


@pytest.mark.parametrize(
    "content",
    [
        PNG[:29] + bytes(4) + REST,
        PNG[: len(PNG) // 2],
        PNG[:-30],
        HEADER + chunk(b"IDAT", zlib.compress(ROWS[:-200])) + END,
        HEADER + chunk(b"IDAT", zlib.compress(ROWS)[:-40] + b"\0\0\0\1") + END,
    ],
)
def test_critical_faults_and_half_pngs_stay_errors(content: bytes) -> None:
    with pytest.raises(InputError, match="damaged or incomplete"):
        open_image(content)


def test_an_animated_png_with_a_wrong_checksum_still_moves() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    content = encode(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100)
    content = content[:33] + chunk(b"tEXt", b"a\0b", 1) + content[33:]
    assert is_video(content)
    assert [frame.getpixel((0, 0)) for frame in read_frames(content)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


# -- JPEG -------------------------------------------------------------------------------------------------------------

WAYS: dict[str, dict[str, object]] = {
    "plain": {},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True},
    "full colour": {"subsampling": 0},
    "half colour": {"subsampling": 1, "quality": 95},
    "restarts": {"restart_marker_blocks": 3},
    "restarts by row": {"restart_marker_rows": 1},
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_that_lacks_only_its_end_mark(way: str, mode: str) -> None:
    """And none that lacks more, also where zeros stand for the rest."""
    content = encode(photo(93, 71).convert(mode), "JPEG", **WAYS[way])
    whole = open_image(content)
    for cut in (content[:-2], content[:-1], content[:-2] + bytes(5000), content[:-2] + bytes(2)):
        assert same(cut, whole)
    begin = content.index(b"\xff\xda") + 20
    for length in np.random.default_rng(3).integers(begin, len(content) - 8, 15):
        for half in (content[:length], content[:length] + bytes(100_000)):
            with pytest.raises(InputError, match="damaged or incomplete"):
                open_image(half)


def test_a_jpeg_that_ends_between_two_scans_or_restarts_stays_an_error() -> None:
    """There every byte is whole, and what is missing shows in nothing but the count."""
    scans = encode(photo(93, 71), "JPEG", progressive=True)
    places = [place for place in range(len(scans)) if scans[place : place + 2] == b"\xff\xda"]
    assert len(places) > 4
    restarts = encode(photo(93, 71), "JPEG", restart_marker_rows=1)
    marks = [place for place in range(1000, len(restarts)) if restarts[place : place + 2] in (b"\xff\xd0", b"\xff\xd1")]
    for half in [*(scans[:place] for place in places[1:]), *(restarts[:place] for place in marks)]:
        with pytest.raises(InputError, match="damaged or incomplete"):
            open_image(half)


@pytest.mark.parametrize("marker", range(0xE0, 0xF0))
def test_odd_segments_of_metadata(marker: int) -> None:
    content = encode(photo(), "JPEG", quality=95)
    bodies = [b"", b"JFIF", b"JFIF\0\1", b"Exif\0\0odd", b"ICC_PROFILE\0", b"ICC_PROFILE\0\1\1" + bytes(9), b"MPF\0",
              b"MPF\0II*\0\x08\0\0\0\xff\xff", b"Photoshop 3.0\0", b"Photoshop 3.0\x008BIM\4\4", b"Adobe",
              b"http://ns.adobe.com/xap/1.0/\0<x"]  # fmt: skip
    for body in bodies:
        segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
        assert same(content[:2] + segment + content[2:], open_image(content)), body


def test_cmyk_as_photoshop_and_others_write_it() -> None:
    """Both are stored inverted; the first says so by its Adobe segment."""
    content = encode(photo().convert("CMYK"), "JPEG", quality=95)
    place = content.index(b"\xff\xee")
    length = 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    smooth = Image.new("CMYK", (16, 16), (255, 40, 0, 0))
    assert abs(open_image(encode(smooth, "JPEG", quality=95)).getpixel((3, 3))[1] - 215) < 4  # type: ignore[index]
    assert same(content[:place] + content[place + length :], open_image(content))


# -- WebP -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow has no WebP")
def test_a_webp_that_says_a_wrong_size() -> None:
    content = encode(photo(), "WEBP", lossless=True)
    assert same(content[:4] + struct.pack("<I", 99_999_999) + content[8:], photo())
    assert same(content + b"more", photo())
    for length in (len(content) // 2, len(content) - 20):
        with pytest.raises(InputError, match="damaged or incomplete"):
            open_image(content[:length])


# -- GIF --------------------------------------------------------------------------------------------------------------


def test_a_gif_without_its_end() -> None:
    grey = photo().convert("L")
    content = encode(grey, "GIF")
    assert same(content[:-1], grey)
    assert same(content[:-2], grey)


# -- BMP --------------------------------------------------------------------------------------------------------------

MASKS = {
    "565": (16, (0xF800, 0x7E0, 0x1F)),
    "555": (16, (0x7C00, 0x3E0, 0x1F)),
    "444": (16, (0xF00, 0xF0, 0xF)),
    "231": (16, (0x30, 0xE, 1)),
    "blue first": (16, (0x1F, 0x7E0, 0xF800)),
    "888": (32, (0xFF0000, 0xFF00, 0xFF)),
    "888 high": (32, (0xFF000000, 0xFF0000, 0xFF00)),
    "888 swapped": (32, (0xFF, 0xFF00, 0xFF0000)),
    "10 bits": (32, (0x3FF00000, 0xFFC00, 0x3FF)),
    "11 11 10": (32, (0xFFE00000, 0x1FFC00, 0x3FF)),
}


def pack(masks: tuple[int, ...], image: Image.Image) -> np.ndarray:
    """The channels at their masks' places, rounded to their bits."""
    values = np.zeros((image.height, image.width), np.uint32)
    for channel, mask in zip(np.moveaxis(np.asarray(image).astype(np.uint64), 2, 0), masks, strict=True):
        shift = (mask & -mask).bit_length() - 1
        values |= ((channel * (mask >> shift) * 2 + 255) // 510 << shift).astype(np.uint32)
    return values


def bmp(bits: int, masks: tuple[int, ...], image: Image.Image, header: int = 40, flip: bool = False) -> bytes:
    """A BMP file by its specification: rows from the bottom up, each padded to four bytes."""
    values = pack(masks, image).astype(f"<u{bits // 8}")
    rows = b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in (values if flip else values[::-1]))
    height = -image.height if flip else image.height
    kind = 6 if header == 40 and len(masks) == 4 else 3
    fields = struct.pack("<IiiHHIIiiII", header, image.width, height, 1, bits, kind, len(rows), 0, 0, 0, 0)
    fields += b"".join(struct.pack("<I", mask) for mask in masks)
    fields += bytes(max(0, header - len(fields)))
    return b"BM" + struct.pack("<IHHI", 14 + len(fields) + len(rows), 0, 0, 14 + len(fields)) + fields + rows


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("width", [40, 39])
@pytest.mark.parametrize("name", MASKS)
def test_bitfields(name: str, width: int, flip: bool) -> None:
    bits, masks = MASKS[name]
    image = photo(width)
    levels = [1 << mask.bit_count() for mask in masks]
    values = np.asarray(image).astype(float)
    expected = np.stack(
        [(values[..., k] * (n - 1) / 255).round() * 255 / (n - 1) for k, n in enumerate(levels)], axis=2
    )
    assert same(bmp(bits, masks, image, flip=flip), Image.fromarray(expected.round().astype(np.uint8)))
    for size in (52, 108, 124):
        assert same(bmp(bits, masks, image, size, flip), open_image(bmp(bits, masks, image, flip=flip)))


@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize(
    ("bits", "masks"), [(16, (0xF00, 0xF0, 0xF, 0xF000)), (32, (0xFF0000, 0xFF00, 0xFF, 0xFF << 24))]
)
def test_bitfields_with_alpha(bits: int, masks: tuple[int, ...], header: int) -> None:
    """Alpha that is zero everywhere is none: it is written by programs that know of none."""
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 119))
    opened = open_image(bmp(bits, masks, image, header))
    assert [opened.getpixel((x, 0)) for x in range(3)] == [(255, 0, 0), (255, 255, 255), (136, 136, 136)]
    clear = photo().convert("RGBA")
    clear.putalpha(0)
    assert same(bmp(bits, masks, clear, header), photo(), tolerance=9)


def test_broken_bitfields() -> None:
    content = bmp(*MASKS["10 bits"], photo())
    with pytest.raises(InputError, match="ends within its pixels"):
        open_image(content[:-3])
    with pytest.raises(InputError, match="has gaps"):
        open_image(bmp(32, (0xFF0000, 0xFF00, 0xFF), photo()).replace(struct.pack("<I", 0xFF00), struct.pack("<I", 5)))
    huge = content[:18] + struct.pack("<ii", 1 << 30, 1 << 30) + content[26:]
    with pytest.raises(InputError, match="pixels, over the limit"):
        open_image(huge)
    with pytest.raises(InputError, match="over the limit of 100"):
        open_image(content, ImageLimits(max_pixels=100))
    with pytest.raises(InputError):
        open_image(content[:18] + struct.pack("<ii", -4, 4) + content[26:])
    with pytest.raises(InputError):
        open_image(content[:10] + b"\xff\xff\xff\xff" + content[14:])


# -- TIFF -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("compression", [None, "packbits", "group3", "group4", "tiff_deflate"])
def test_tiffs_of_one_bit(compression: str | None, photometric: int) -> None:
    """Black is black, whichever of 0 and 1 stands for it."""
    if compression not in (None, "packbits") and not features.check("libtiff"):
        pytest.skip("this Pillow has no libtiff")
    image = photo().convert("1")
    assert same(encode(image, "TIFF", compression=compression, tiffinfo={262: photometric}), image)


# -- grey of more than 8 bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("write", ["PNG", "TIFF", "I;16", "I"])
def test_grey_levels_of_cameras(bits: int, write: str) -> None:
    """Levels of 10 to 14 bits in 16 come out as bright as they are, not near black."""
    levels = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16).reshape(16, 16)
    makers: dict[str, Callable[[], object]] = {
        "PNG": lambda: encode(Image.fromarray(levels), "PNG"),
        "TIFF": lambda: encode(Image.fromarray(levels), "TIFF"),
        "I;16": lambda: Image.fromarray(levels),
        "I": lambda: Image.fromarray(levels.astype(np.int32)),
    }
    opened = np.asarray(open_image(makers[write]())).astype(int)  # type: ignore[arg-type]
    assert (opened[..., 0] == np.arange(256).reshape(16, 16)).all()
    assert (opened == opened[..., :1]).all()


def test_a_black_picture_stays_black() -> None:
    assert not np.asarray(open_image(Image.fromarray(np.zeros((4, 4), np.uint16)))).any()


# -- other ------------------------------------------------------------------------------------------------------------


def test_a_photo_of_two_cameras_with_a_broken_index() -> None:
    """The first picture of an MPO file counts, whatever its index of the others says."""
    content = encode(photo(), "MPO", save_all=True, append_images=[photo().rotate(90)], quality=95)
    expected = open_image(encode(photo(), "JPEG", quality=95))
    assert same(content, expected)
    place = content.index(b"MPF\0")
    assert same(content[: place + 12] + b"\xff\xff" + content[place + 14 :], expected)
    assert same(content[: len(content) * 2 // 3], expected)


def test_repairs_need_no_file_name(tmp_path: Path) -> None:
    """The error of what cannot be mended still names the file."""
    (tmp_path / "half.jpg").write_bytes(encode(photo(), "JPEG")[:-100])
    with pytest.raises(InputError, match=r"half\.jpg is damaged or incomplete"):
        open_image(tmp_path / "half.jpg")

"""Files that every viewer shows and Pillow does not: mended, or for BMP files with masks of channels, read here.

They break their format's rules where no pixel depends on it, or use a part of the format that Pillow does not know.
"""

import hashlib
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
ANY = range(1 << 31)
PNG_PIXELS = {
    # Chunks that a PNG's pixels may depend on besides its critical ones → how long they can be
    b"tRNS": range(1, 257),
    b"eXIf": ANY,
    b"acTL": range(8, 9),
    b"fcTL": range(26, 27),
    b"fdAT": ANY[4:],
}
TRNS_LENGTHS = {0: 2, 2: 6}
"""Of a PNG's colour types grey and RGB; a palette's may be as long as the palette."""

JPEG, JPEG_END = b"\xff\xd8", b"\xff\xd9"
BMP = b"BM"
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])")
FILLS = (b"\0", b"\xaa", b"\xff\0")
"""What is put in the place of data that may be missing: where any is, not all of these give the same picture."""

ZEROS = 16
"""Bytes of zero at the end of a JPEG that may be pixels; more is room that a download left empty."""

JPEG_SEGMENTS = {
    # Segments that a JPEG's pixels may depend on: how the content begins, and its least length
    0xE0: (b"JFIF\0", 14),
    0xE1: (b"Exif\0\0", 14),
    0xEE: (b"Adobe", 12),
}

BITFIELDS = (3, 6)
"""A BMP file's BI_BITFIELDS and BI_ALPHABITFIELDS."""


def readable(content: bytes) -> bytes:
    """The content without what misleads Pillow.

    That is chunks of a PNG that no pixel depends on, a false size of a WebP, and behind a JPEG the zeros that a
    download was to fill, which Pillow would take for pixels.

    Whatever is not one of these, or breaks other rules, comes back as it is.
    """
    if content.startswith(PNG):
        return b"".join((PNG, *_png_parts(content)))
    if content.startswith(JPEG) and content.endswith(bytes(ZEROS + 1)):
        return content.rstrip(b"\0")
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if is_webp and int.from_bytes(content[4:8], "little") + 8 > len(content):
        # Where more than the size is wrong, a chunk within is cut short too, and the decoder says so.
        whole = content + bytes(len(content) % 2)
        return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
    return content


def mended(content: bytes) -> bytes | None:
    """Content that failed, mended where no pixel is missing; None where nothing can be done.

    A JPEG that lacks only its end mark gets it, one with odd segments of metadata loses them; a PNG whose pixels are
    whole loses the checksum after them.
    """
    if content.startswith(JPEG):
        plain = b"".join(_jpeg_parts(content))
        return _with_end(plain) or (plain if plain != content else None)
    if content.startswith(PNG):
        return _without_adler(content)
    return None


# -- PNG --------------------------------------------------------------------------------------------------------------


def _png_parts(content: bytes) -> Iterator[bytes]:
    """The chunks that pixels depend on, as far as the file goes."""
    colours = content[25] if len(content) > 25 else 0
    view, place = memoryview(content), len(PNG)
    while place + 12 <= len(content):
        length, kind = int.from_bytes(view[place : place + 4], "big"), bytes(view[place + 4 : place + 8])
        end = place + 12 + length
        if end > len(content):
            break
        if not kind[0] & 0x20 or _is_needed(kind, length, colours, view[place + 4 : end]):
            yield bytes(view[place:end])
        place = end
        if kind == b"IEND":
            return
    yield bytes(view[place:])


def _is_needed(kind: bytes, length: int, colours: int, checked: memoryview) -> bool:
    """Whether an ancillary chunk is one that counts, and sound; as browsers do, others are passed over."""
    if length not in PNG_PIXELS.get(kind, ()):
        return False
    if kind == b"tRNS" and length != TRNS_LENGTHS.get(colours, length):
        return False
    return zlib.crc32(checked[:-4]) == int.from_bytes(checked[-4:], "big")


def _without_adler(content: bytes) -> bytes | None:
    """A PNG without the checksum of its pixels as a whole; each of its chunks must have the right one."""
    parts, pixels = list[bytes](), list[bytes]()
    for part in _png_parts(content):
        if part[4:8] != b"IDAT":
            parts.append(part)
        elif zlib.crc32(part[4:-4]) == int.from_bytes(part[-4:], "big"):
            pixels.append(part[8:-4])
        else:
            return None
    body = b"IDAT" + b"".join(pixels)[:-4]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    end = [part for part in parts if part[4:8] == b"IEND"]
    return b"".join((PNG, *(part for part in parts if part[4:8] != b"IEND"), chunk, *end)) if pixels else None


# -- JPEG -------------------------------------------------------------------------------------------------------------


@dataclass
class _Scan:
    """One pass over some of a JPEG's components: which coefficients, to which last bit; where its data lies."""

    components: tuple[int, ...]
    first: int
    last: int
    low_bit: int
    restart: int
    begin: int
    end: int


def _jpeg_parts(content: bytes) -> Iterator[bytes]:
    """A JPEG up to its pixels without the segments of metadata that count for none, or are too short."""
    place = 2
    yield content[:2]
    while found := JPEG_MARKER.match(content, place):
        kind, begin = found[1][0], found.end()
        end = begin + int.from_bytes(content[begin : begin + 2], "big")
        if kind == 0xDA or end <= begin + 1:
            break
        if not (0xE0 <= kind <= 0xEF or kind == 0xFE) or _counts(kind, content[begin + 2 : end]):
            yield content[place:end]
        place = end
    yield content[place:]


def _counts(kind: int, segment: bytes) -> bool:
    begins, least = JPEG_SEGMENTS.get(kind, (b"", 1 << 16))
    return segment.startswith(begins) and len(segment) >= least


def _with_end(content: bytes) -> bytes | None:
    """A JPEG that lacks only its end mark, with it; None where it has one, or lacks pixels.

    Pixels are missing where a scan of a coefficient or an interval between restarts is not there, or where what is
    put behind the data changes the picture.
    """
    body = content.rstrip(b"\xff")  # half of the mark
    if not _is_whole(body):
        return None
    try:
        pictures = {_digest(body + fill * 64 + JPEG_END) for fill in FILLS}
    except Exception:  # Pillow raises many types for damaged files
        return None
    return body + JPEG_END if len(pictures) == 1 else None


def _digest(content: bytes) -> bytes:
    """A placeholder for the picture, however large."""
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
        return hashlib.blake2b(image.tobytes()).digest()


def _is_whole(content: bytes) -> bool:
    """Whether the markers tell of all scans and restarts, and the content ends within the last scan's data."""
    try:
        size, factors, scans = _read_markers(content)
    except (IndexError, struct.error):
        return False
    if not scans or scans[-1].end != len(content):
        return False
    finest = {component: [99] * 64 for component in factors}
    for scan in scans:
        for component in scan.components:
            if component not in finest:
                return False
            finest[component][scan.first : scan.last + 1] = [scan.low_bit] * (scan.last + 1 - scan.first)
    return not any(any(bits) for bits in finest.values()) and _has_all_restarts(content, size, factors, scans[-1])


def _read_markers(content: bytes) -> tuple[tuple[int, int], dict[int, tuple[int, int]], list[_Scan]]:
    """Width and height, each component's sampling factors across and down, and the scans."""
    size, factors, scans, restart, place = (0, 0), dict[int, tuple[int, int]](), list[_Scan](), 0, 2
    while found := JPEG_MARKER.search(content, place):
        kind, begin = found[1][0], found.end()
        place = begin + struct.unpack_from(">H", content, begin)[0]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width, count = struct.unpack_from(">HHB", content, begin + 3)
            size = (width, height)
            for number in range(count):
                component, both = content[begin + 8 + 3 * number], content[begin + 9 + 3 * number]
                factors[component] = (both >> 4, both & 15)
        elif kind == 0xDD:
            restart = struct.unpack_from(">H", content, begin + 2)[0]
        elif kind == 0xDA:
            count = content[begin + 2]
            components = tuple(content[begin + 3 + 2 * number] for number in range(count))
            first, last, bits = struct.unpack_from(">BBB", content, begin + 3 + 2 * count)
            ends = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]").search(content, place)
            end = ends.start() if ends else len(content)
            scans.append(_Scan(components, first, min(last, 63), bits & 15, restart, place, end))
            place = end
    return size, factors, scans


def _has_all_restarts(
    content: bytes, size: tuple[int, int], factors: Mapping[int, tuple[int, int]], scan: _Scan
) -> bool:
    """Whether the scan has as many restart marks as its picture is long."""
    if not scan.restart:
        return True
    across, down = (max(factor[axis] for factor in factors.values()) for axis in (0, 1))
    own = factors[scan.components[0]] if len(scan.components) == 1 else (across, down)
    blocks = [
        _ceil(_ceil(side * one, most), 8 if len(scan.components) == 1 else 8 * most)
        for side, one, most in zip(size, own, (across, down), strict=True)
    ]
    marks = len(re.findall(rb"\xff[\xd0-\xd7]", content[scan.begin : scan.end]))
    return marks == _ceil(blocks[0] * blocks[1], scan.restart) - 1


def _ceil(whole: int, part: int) -> int:
    return (whole + part - 1) // part


# -- BMP --------------------------------------------------------------------------------------------------------------


def has_bitfields(content: bytes) -> bool:
    """Whether it is a BMP file of 16 or 32 bits a pixel with masks of its channels."""
    if not content.startswith(BMP) or len(content) < 66:
        return False
    (size,), (bits, compression) = struct.unpack_from("<I", content, 14), struct.unpack_from("<HI", content, 28)
    return size >= 40 and bits in (16, 32) and compression in BITFIELDS


def read_bitfields(content: bytes, check: Callable[[int, int], None]) -> Image.Image:
    """The image, RGB or RGBA; `check(width, height)` is called before anything is decoded.

    Raises ValueError for masks that are none, EOFError for a file that is cut short.
    """
    (start,) = struct.unpack_from("<I", content, 10)
    size, width, height, _, bits, compression = struct.unpack_from("<IiiHHI", content, 14)
    check(max(width, 0), abs(height))
    masks = list(struct.unpack_from("<3I", content, 54))
    if size >= 56 or compression == 6:
        masks += struct.unpack_from("<I", content, 66)
    stride, row = -(-width * bits // 32) * 4, width * bits // 8
    if len(content) < start + stride * (abs(height) - 1) + row:
        raise EOFError("it ends within its pixels")
    data = content[start : start + stride * abs(height)].ljust(stride * abs(height), b"\0")
    values = np.frombuffer(data, np.uint8).reshape(abs(height), stride)[:, :row].copy().view(f"<u{bits // 8}")
    channels = [_channel(values if height < 0 else values[::-1], mask) for mask in masks]
    # Writers that know of no alpha leave its bits at zero.
    if len(channels) == 4 and not channels[3].any():
        channels.pop()
    return Image.fromarray(np.stack(channels, axis=2))


def _channel(values: np.ndarray, mask: int) -> np.ndarray:
    """The bits of a mask as levels from 0 to 255."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    if most & (most + 1):
        raise ValueError(f"the mask {mask:#x} has gaps")
    return (((values & mask) >> shift).astype(np.float64) * (255 / most)).round().astype(np.uint8)

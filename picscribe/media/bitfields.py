"""BMP files that say themselves which bits are red, green, blue and alpha: Pillow knows a few of the ways."""

import struct
from collections.abc import Callable

import numpy as np
from PIL import Image

COMPRESSIONS = (3, 6)
"""BI_BITFIELDS and BI_ALPHABITFIELDS."""


def has_bitfields(content: bytes) -> bool:
    """Whether it is a BMP file of 16 or 32 bits a pixel with masks of its channels."""
    if content[:2] != b"BM" or len(content) < 66:
        return False
    (size,), (bits, compression) = struct.unpack_from("<I", content, 14), struct.unpack_from("<HI", content, 28)
    return size >= 40 and bits in (16, 32) and compression in COMPRESSIONS


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

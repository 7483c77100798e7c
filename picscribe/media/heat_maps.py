"""Heat maps drawn over what the network saw, a tile a word."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

TILE, LABEL, GAP = 224, 26, 8
ACROSS = 5
"""Tiles in a row of a photo's sheet."""

COLOURS = np.array([(40, 40, 140), (60, 160, 220), (120, 220, 120), (250, 220, 60), (230, 50, 30)], float)
"""From what mattered least to what mattered most."""


def draw_heat_maps(frames: Sequence[Image.Image], words: Sequence[str], maps: NDArray[np.floating]) -> Image.Image:
    """A sheet: of a photo itself and a tile a word, in rows; of a video a row a word, all frames in it.

    `frames` are RGB as the network saw them, `maps` (words, frames, rows, columns), not below 0.
    """
    tiles: list[tuple[str, Image.Image]] = []
    for word, of_word in zip(words, maps, strict=True):
        most = float(of_word.max()) or 1.0
        tiles += [(word, _over(frame, heat / most)) for frame, heat in zip(frames, of_word, strict=True)]
    plain = [("", _tile(frame)) for frame in frames]
    return _sheet([*plain, *tiles], len(frames) if len(frames) > 1 else min(ACROSS, 1 + len(words)))


def _tile(frame: Image.Image) -> Image.Image:
    """The frame as large as a tile allows, its aspect kept."""
    scale = TILE / max(frame.size)
    return frame.resize((max(1, round(frame.width * scale)), max(1, round(frame.height * scale))))


def _over(frame: Image.Image, heat: NDArray[np.floating]) -> Image.Image:
    """A map of values from 0 to 1 laid over a frame."""
    photo = _tile(frame)
    grid = Image.fromarray((np.clip(heat, 0, 1) * 255).astype(np.uint8)).resize(photo.size, Image.Resampling.BICUBIC)
    value = np.asarray(grid, float)[..., None] / 255
    place = value[..., 0] * (len(COLOURS) - 1)
    low = np.minimum(place.astype(int), len(COLOURS) - 2)
    part = (place - low)[..., None]
    colour = COLOURS[low] * (1 - part) + COLOURS[low + 1] * part
    share = 0.25 + 0.45 * value
    return Image.fromarray((np.asarray(photo, float) * (1 - share) + colour * share).astype(np.uint8))


def _sheet(tiles: Sequence[tuple[str, Image.Image]], across: int) -> Image.Image:
    rows = -(-len(tiles) // across)
    sheet = Image.new("RGB", (across * (TILE + GAP) + GAP, rows * (TILE + LABEL + GAP) + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for number, (word, tile) in enumerate(tiles):
        left, top = GAP + number % across * (TILE + GAP), GAP + number // across * (TILE + LABEL + GAP)
        sheet.paste(tile, (left, top))
        draw.text((left + 2, top + TILE + 4), word, fill=(30, 30, 30), font=font)
    return sheet

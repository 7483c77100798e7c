"""What is drawn: a tile a word, red where the map is strongest, rows of frames for videos."""

import numpy as np
from PIL import Image

from picscribe.media.heat_maps import GAP, LABEL, TILE, draw_heat_maps


def test_a_photo_has_a_tile_a_word() -> None:
    maps = np.zeros((6, 1, 4, 4))
    maps[:, 0, 3, 3] = 1.0
    sheet = draw_heat_maps([Image.new("RGB", (64, 64), (128, 128, 128))], list("abcdef"), maps)
    assert sheet.size == (5 * (TILE + GAP) + GAP, 2 * (TILE + LABEL + GAP) + GAP)
    plain = np.asarray(sheet.crop((GAP, GAP, GAP + TILE, GAP + TILE)))
    assert (plain == 128).all()
    for place in range(1, 7):
        left, top = GAP + place % 5 * (TILE + GAP), GAP + place // 5 * (TILE + LABEL + GAP)
        tile = np.asarray(sheet.crop((left, top, left + TILE, top + TILE)), int)
        assert tile[-10, -10, 0] > tile[-10, -10, 2] + 60, "red where the map is strongest"
        assert tile[10, 10, 2] > tile[10, 10, 0], "blue where it is not"


def test_a_video_has_a_row_a_word() -> None:
    frames = [Image.new("RGB", (48, 32), (100, 100, 100))] * 3
    sheet = draw_heat_maps(frames, ["a", "b"], np.random.default_rng(0).random((2, 3, 2, 2)))
    assert sheet.size == (3 * (TILE + GAP) + GAP, 3 * (TILE + LABEL + GAP) + GAP)


def test_maps_of_nothing_are_drawn() -> None:
    assert draw_heat_maps([Image.new("RGB", (8, 8))], ["a"], np.zeros((1, 1, 2, 2))).size[0] == 2 * (TILE + GAP) + GAP

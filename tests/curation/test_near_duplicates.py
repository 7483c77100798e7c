"""The index of perceptual hashes against looking at every pair."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from picscribe.curation.near_duplicates import NearDuplicates, perceptual_hash

pytest.importorskip("imagehash")


@given(st.integers(0, 16), st.integers(0, 2**32))
def test_the_first_near_hash_is_found(distance: int, seed: int) -> None:
    draw = random.Random(seed)
    index, seen = NearDuplicates(distance), list[int]()
    for _ in range(40):
        value = draw.getrandbits(64)
        if seen and draw.random() < 0.6:  # near an earlier one, or just not
            value = draw.choice(seen)
            for bit in draw.sample(range(64), draw.randrange(distance + 3)):
                value ^= 1 << bit
        near = [place for place, other in enumerate(seen) if (other ^ value).bit_count() <= distance]
        assert index.find(value) == (near[0] if near else None)
        assert index.add(value) == len(seen)
        seen.append(value)


def picture(seed: int) -> Image.Image:
    draw = random.Random(seed)
    image = Image.new("RGB", (240, 180), tuple(draw.randrange(256) for _ in range(3)))
    for _ in range(12):
        x, y = draw.randrange(240), draw.randrange(180)
        colour = tuple(draw.randrange(256) for _ in range(3))
        ImageDraw.Draw(image).ellipse((x - 40, y - 40, x + 40, y + 40), fill=colour)
    return image


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_near_and_others_far(seed: int) -> None:
    image = picture(seed)
    copies = [image.resize((120, 90)), ImageEnhance.Brightness(image).enhance(1.1), image.convert("L")]
    hashes = [perceptual_hash(copy) for copy in copies]
    assert all((perceptual_hash(image) ^ value).bit_count() <= 4 for value in hashes)
    assert (perceptual_hash(image) ^ perceptual_hash(picture(seed + 100))).bit_count() > 8

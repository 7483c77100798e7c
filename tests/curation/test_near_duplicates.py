"""The index of perceptual hashes against looking at every pair."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from picscribe.curation.near_duplicates import DETAIL_DISTANCE, Look, NearDuplicates, look_of

pytest.importorskip("imagehash")


@given(st.integers(0, 16), st.integers(0, 2**32))
def test_the_first_near_hash_is_found(distance: int, seed: int) -> None:
    draw = random.Random(seed)
    index, seen = NearDuplicates(distance), list[Look]()
    for _ in range(40):
        coarse, detail = draw.getrandbits(64), draw.getrandbits(256)
        if seen and draw.random() < 0.6:  # near an earlier one, or just not
            earlier = draw.choice(seen)
            coarse, detail = earlier.coarse, earlier.detail
            for bit in draw.sample(range(64), draw.randrange(distance + 3)):
                coarse ^= 1 << bit
            for bit in draw.sample(range(256), draw.randrange(DETAIL_DISTANCE + 3)):
                detail ^= 1 << bit
        look = Look(coarse, detail)
        near = [place for place, other in enumerate(seen) if is_near(look, other, distance)]
        assert index.find(look) == (near[0] if near else None)
        assert index.add(look) == len(seen)
        seen.append(look)


def is_near(one: Look, other: Look, distance: int) -> bool:
    details = (one.detail ^ other.detail).bit_count()
    return (one.coarse ^ other.coarse).bit_count() <= distance and details <= DETAIL_DISTANCE


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
    assert all(is_near(look_of(image), look_of(copy), 4) for copy in copies)
    assert not is_near(look_of(image), look_of(picture(seed + 100)), 8)

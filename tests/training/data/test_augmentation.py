"""Random views: crops stay in the image and within what was asked for; mirroring asks first."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from picscribe.errors import ConfigurationError
from picscribe.training.data.augmentation import draw_crop, draw_view
from picscribe.training.recipe import Augmentation

sides = st.integers(1, 5000)


@st.composite
def augmentations(draw: st.DrawFn) -> Augmentation:
    min_area = draw(st.floats(0.01, 1))
    return Augmentation(min_area, draw(st.floats(1, 1 / min_area)))


@given(sides, sides, augmentations(), st.integers(0, 2**32))
def test_a_crop_stays_in_the_image_and_within_the_limits(
    width: int, height: int, augmentation: Augmentation, seed: int
) -> None:
    left, top, right, bottom = draw_crop(width, height, augmentation, random.Random(seed))
    assert left >= 0
    assert top >= 0
    assert right <= width * (1 + 1e-12)
    assert bottom <= height * (1 + 1e-12)
    across, down = (right - left) / width, (bottom - top) / height
    assert across * down >= augmentation.min_area * (1 - 1e-6)
    assert abs(math.log(across / down)) <= math.log(augmentation.max_stretch) + 1e-6


@given(st.integers(1, 300), st.integers(1, 300), augmentations(), st.integers(0, 2**32))
def test_every_crop_can_be_drawn(width: int, height: int, augmentation: Augmentation, seed: int) -> None:
    view = draw_view(Image.new("RGB", (width, height)), 8, augmentation, random.Random(seed), can_mirror=True)
    assert (view.size, view.mode) == ((8, 8), "RGB")


def test_crops_reach_the_limits_and_every_corner() -> None:
    draw = random.Random(0)
    boxes = [draw_crop(100, 100, Augmentation(0.5, 1.25), draw) for _ in range(3000)]
    areas = [(right - left) * (bottom - top) / 10_000 for left, top, right, bottom in boxes]
    stretches = [(right - left) / (bottom - top) for left, top, right, bottom in boxes]
    assert 0.5 <= min(areas) < 0.53
    assert 0.97 < max(areas) <= 1
    assert 1 / 1.25 <= min(stretches) < 0.81
    assert 1.24 < max(stretches) <= 1.25
    lefts, rights = [box[0] for box in boxes], [box[2] for box in boxes]
    assert min(lefts) < 0.2
    assert max(lefts) > 20
    assert max(rights) > 99.8


def test_the_whole_image_is_the_only_view_without_any_freedom() -> None:
    image = Image.effect_noise((40, 30), 80).convert("RGB")
    view = draw_view(image, 16, Augmentation(min_area=1.0), random.Random(5), can_mirror=True)
    assert ImageChops.difference(view, image.resize((16, 16), Image.Resampling.BICUBIC)).getbbox() is None


@pytest.mark.parametrize(
    ("mirror", "may_mirror", "expected"), [(True, True, {0, 1}), (True, False, {0}), (False, True, {0})]
)
def test_mirroring_asks_the_recipe_and_the_captions(mirror: bool, may_mirror: bool, expected: set[int]) -> None:
    image = Image.new("RGB", (16, 16))
    image.paste((255, 255, 255), (8, 0, 16, 16))  # the right half is white
    draws = [draw_view(image, 16, Augmentation(1.0, 1.0, mirror), random.Random(k), may_mirror) for k in range(40)]
    white_on_the_left = {int(view.getpixel((1, 8))[0] > 128) for view in draws}
    assert white_on_the_left == expected


def test_a_caption_that_names_a_side_changes_nothing_but_the_mirroring() -> None:
    """Both kinds of image take as many random numbers, so that their crops stay what they are."""
    one, other = random.Random(3), random.Random(3)
    image = Image.new("RGB", (20, 20))
    for draw, may_mirror in ((one, True), (other, False)):
        draw_view(image, 8, Augmentation(mirror=True), draw, may_mirror)
    assert one.random() == other.random()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"min_area": 0}, "min_area"),
        ({"min_area": 1.01}, "min_area"),
        ({"max_stretch": 0.9}, "max_stretch must be at least 1"),
        ({"min_area": 0.8, "max_stretch": 1.3}, r"max_stretch \(1.3\) can be at most 1 / min_area \(1.25\)"),
    ],
)
def test_settings_that_cannot_be_are_named(fields: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Augmentation(**fields)


def test_the_largest_stretch_that_fits_is_allowed() -> None:
    assert Augmentation(min_area=0.8, max_stretch=1.25).max_stretch == 1.25

"""JPEGs decoded at a smaller scale: as if decoded whole, to two levels of 255, and only where the aspect stays."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import picscribe
from picscribe.bulk.engine import Limits, settings_of
from picscribe.errors import ConfigurationError, InputError
from picscribe.media.images import open_image
from picscribe.media.preprocessing import DETAIL, FAST_DETAIL, Preprocessing

SIZE = 56


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def rings(width: int, height: int) -> Image.Image:
    """Every frequency there is, up to a period of two pixels."""
    y, x = np.mgrid[0:height, 0:width]
    levels = 127.5 + 127.5 * np.cos((x**2 + y**2) * np.pi / (2 * max(width, height)))
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")


def smooth(width: int, height: int) -> Image.Image:
    return noise(24, 16).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **{"quality": 90, **options})
    return stream.getvalue()


def levels(preprocessing: Preprocessing, content: bytes, at_least: int | None) -> np.ndarray:
    return np.asarray(preprocessing.resize(open_image(content, at_least=at_least))).astype(int)


@pytest.mark.parametrize("draw", [noise, rings, smooth])
@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize(
    "options", [{}, {"quality": 60}, {"quality": 98, "subsampling": 0}, {"progressive": True}, {"subsampling": 2}]
)
def test_as_if_decoded_whole(draw: object, scale: int, options: dict[str, object]) -> None:
    preprocessing = Preprocessing(size=SIZE)
    side = DETAIL * SIZE * scale
    content = jpeg(draw(side + 8 * scale, side), **options)  # type: ignore[operator]
    opened = open_image(content, at_least=DETAIL * SIZE)
    assert opened.size == ((side + 8 * scale) // scale, side // scale)
    whole, drafted = levels(preprocessing, content, None), levels(preprocessing, content, DETAIL * SIZE)
    assert whole.shape == drafted.shape
    difference = abs(whole - drafted)
    assert difference.max() <= (16 if draw is rings else 2)
    assert difference.mean() <= (0.3 if draw is rings else 0.5)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_printers_colours(mode: str) -> None:
    preprocessing, side = Preprocessing(size=SIZE), DETAIL * SIZE * 4
    content = jpeg(smooth(side, side + 64).convert(mode))
    assert open_image(content, at_least=DETAIL * SIZE).size == (side // 4, side // 4 + 16)
    whole, drafted = levels(preprocessing, content, None), levels(preprocessing, content, DETAIL * SIZE)
    assert abs(whole - drafted).max() <= 2


def test_turned_upright_as_ever() -> None:
    side = DETAIL * SIZE * 2
    exif = Image.Exif()
    exif[0x0112] = 6
    content = jpeg(smooth(side + 160, side), exif=exif)
    whole, drafted = open_image(content), open_image(content, at_least=DETAIL * SIZE)
    assert whole.size == (side, side + 160) and drafted.size == (side // 2, side // 2 + 80)
    preprocessing = Preprocessing(size=SIZE)
    difference = np.asarray(preprocessing.resize(whole)).astype(int) - np.asarray(preprocessing.resize(drafted))
    assert abs(difference).max() <= 2


@pytest.mark.parametrize("extra", [1, 2, 3, 5, 7])
def test_a_side_that_does_not_divide_keeps_the_aspect(extra: int) -> None:
    side = DETAIL * SIZE * 8
    width, height = open_image(jpeg(smooth(side + extra, side)), at_least=DETAIL * SIZE).size
    assert width * side == height * (side + extra)


def test_small_photos_and_other_formats_are_decoded_whole() -> None:
    small = jpeg(smooth(2 * DETAIL * SIZE - 2, 2 * DETAIL * SIZE - 2))
    assert open_image(small, at_least=DETAIL * SIZE).size == (2 * DETAIL * SIZE - 2,) * 2
    stream = io.BytesIO()
    smooth(8 * DETAIL * SIZE, 8 * DETAIL * SIZE).save(stream, "PNG")
    assert open_image(stream.getvalue(), at_least=DETAIL * SIZE).size == (8 * DETAIL * SIZE,) * 2
    picture = smooth(8 * DETAIL * SIZE, 8 * DETAIL * SIZE)
    assert open_image(picture, at_least=DETAIL * SIZE).size == picture.size


def test_a_truncated_photo_is_an_error_all_the_same() -> None:
    content = jpeg(noise(DETAIL * SIZE * 8, DETAIL * SIZE * 8))
    with pytest.raises(InputError, match="damaged or incomplete"):
        open_image(content[: len(content) // 2], at_least=DETAIL * SIZE)


def test_read_is_opening_and_shaping() -> None:
    preprocessing = Preprocessing(size=SIZE)
    content = jpeg(smooth(300, 200))
    assert (preprocessing.read(content) == preprocessing(open_image(content))).all()
    large = preprocessing.read(jpeg(noise(DETAIL * SIZE * 8, DETAIL * SIZE * 8)))
    assert large.shape == (3, SIZE, SIZE)


@pytest.mark.parametrize("draw", [noise, smooth])
def test_less_detail_looks_the_same(draw: object) -> None:
    fast = Preprocessing(size=SIZE, detail=FAST_DETAIL)
    side = FAST_DETAIL * SIZE * 4
    content = jpeg(draw(side + 32, side))  # type: ignore[operator]
    difference = abs(np.asarray(fast.read_levels(content)).astype(int) - Preprocessing(size=SIZE).read_levels(content))
    assert 0 < difference.mean() <= 2 and difference.max() <= 12


def test_less_detail_belongs_to_types_that_round() -> None:
    exact, rounded = picscribe.load("nano"), picscribe.load("nano", dtype="bfloat16")
    assert exact.preprocessing.detail == DETAIL and rounded.preprocessing.detail == FAST_DETAIL
    assert picscribe.load("nano", quantize="int8", resize="square").preprocessing.detail == FAST_DETAIL
    assert settings_of(rounded, Limits()).preprocessing["detail"] == FAST_DETAIL
    less = replace(exact.preprocessing, detail=FAST_DETAIL)
    assert repr(less) == repr(exact.preprocessing)  # so that a checkpoint has one fingerprint


@pytest.mark.parametrize("detail", [0, 1.5, True])
def test_a_detail_that_cannot_be(detail: object) -> None:
    with pytest.raises(ConfigurationError, match=r"Preprocessing\.detail must be a whole number of at least 1"):
        Preprocessing(detail=detail)  # type: ignore[arg-type]

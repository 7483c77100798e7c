"""Pixels equal transformers' CLIPImageProcessor and the original code's test transform, written out here as well."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from picscribe.errors import ConfigurationError, InputError
from picscribe.media import ImageLimits, open_image
from picscribe.media.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing, stacked

LEVEL = 1 / 255
VQA = {480: 640, 420: 560}  # size → longer edge of the base and the large VQA checkpoints


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Every pixel another colour: the hardest case for a resize that is nearly right."""
    levels = np.random.default_rng(width * 1009 + height).integers(0, 256, (height, width, 4), dtype=np.uint8)
    rgba = Image.fromarray(levels)
    if mode == "LA":
        return Image.merge("LA", [rgba.convert("L"), rgba.getchannel("A")])
    return rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode)


def normalised(image: Image.Image) -> np.ndarray:
    """(3, height, width) as any textbook writes it, in double precision."""
    return ((np.asarray(image) / 255 - CLIP_MEAN) / CLIP_STD).transpose(2, 0, 1)


def levels(pixels: torch.Tensor) -> np.ndarray:
    """Normalised pixels back to 0…1."""
    return pixels.double().numpy() * np.array(CLIP_STD)[:, None, None] + np.array(CLIP_MEAN)[:, None, None]


def is_windowed(image_size: tuple[int, int], size: int) -> bool:
    """Whether only what the crop keeps is enlarged; equal then to two levels, else exactly."""
    return max(image_size) > 16 * min(image_size) and min(image_size) < size


# 20 odd sizes: not multiples of anything, one pixel, exact fits, long sides that need rounding, both ways round.
SIZES = [
    (1, 1), (2, 3), (3, 500), (500, 3), (224, 224), (225, 224), (224, 225), (223, 999), (640, 480), (333, 500),
    (500, 375), (97, 31), (1023, 767), (17, 200), (641, 427), (427, 641), (300, 301), (1, 14), (479, 481), (1111, 70),
]  # fmt: skip
MODES = ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "RGBX", "RGB", "L"] * 2


@pytest.fixture(scope="module")
def clip():
    """transformers' image processor on Pillow, with what the released captioning checkpoints say."""
    transformers = pytest.importorskip("transformers")
    module = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    assert transformers is not None
    return module.CLIPImageProcessorPil(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, resample=3, do_convert_rgb=True
    )


@pytest.mark.parametrize(("size", "mode"), list(zip(SIZES, MODES, strict=True)))
def test_center_crop_equals_transformers(clip, size: tuple[int, int], mode: str) -> None:
    image = noise(*size, mode)
    expected = clip(image, return_tensors="np")["pixel_values"][0]
    found = Preprocessing()(open_image(image))
    assert found.shape == expected.shape == (3, 224, 224) and found.dtype == torch.float32
    tolerance = LEVEL if is_windowed(size, 224) else 1e-6
    assert np.abs(levels(found) - levels(torch.from_numpy(np.asarray(expected)))).max() <= tolerance * 1.001


@pytest.mark.parametrize("size", [(333, 500), (500, 333), (1, 1), (57, 57)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_images_equal_transformers_on_white(clip, size: tuple[int, int], mode: str) -> None:
    image = noise(*size, mode)
    rgba = np.asarray(image.convert("RGBA")).astype(float)
    share = rgba[..., 3:] / 255
    on_white = Image.fromarray((rgba[..., :3] * share + 255 * (1 - share)).round().astype(np.uint8))
    expected = clip(on_white, return_tensors="np")["pixel_values"][0]
    found = Preprocessing()(open_image(image))
    assert np.abs(levels(found) - levels(torch.from_numpy(np.asarray(expected)))).max() <= 2.001 * LEVEL


def naive_center_crop(image: Image.Image, size: int) -> Image.Image:
    """The whole image resized, then its middle cut out."""
    width, height = image.size
    if width <= height:
        whole = image.resize((size, int(size * height / width)), Image.Resampling.BICUBIC)
    else:
        whole = image.resize((int(size * width / height), size), Image.Resampling.BICUBIC)
    rows = np.asarray(whole)
    top, left = (rows.shape[0] - size) // 2, (rows.shape[1] - size) // 2
    return Image.fromarray(rows[top : top + size, left : left + size])


@given(width=st.integers(1, 150), height=st.integers(1, 150), size=st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_center_crop_equals_the_naive_one(width: int, height: int, size: int) -> None:
    image = noise(width, height)
    expected = normalised(naive_center_crop(image, size))
    found = Preprocessing(size)(image)
    difference = np.abs(levels(found) - levels(torch.from_numpy(expected)))
    assert difference.max() <= (2.001 * LEVEL if is_windowed((width, height), size) else 1e-6)


THIN = [(1, 17), (2, 900), (3, 4001), (40, 5000), (7, 127), (95, 1600), (50, 801), (96, 1700), (200, 3400)]


@pytest.mark.parametrize("size", [*THIN, *((height, width) for width, height in THIN)])
def test_long_and_thin_images_equal_the_naive_crop(size: tuple[int, int]) -> None:
    image = noise(*size)
    expected = np.asarray(naive_center_crop(image, 96)).astype(int)
    found = np.asarray(Preprocessing(96).resize(image)).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.002


def watch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A list that every size asked of Pillow's resize goes into from now on."""
    asked = []
    resize = Image.Image.resize

    def watch(image: Image.Image, size: tuple[int, int], *rest: object, **options: object) -> Image.Image:
        asked.append(size)
        return resize(image, size, *rest, **options)

    monkeypatch.setattr(Image.Image, "resize", watch)
    return asked


def test_long_and_thin_images_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pixel by a thousand would be 224 × 224,000 pixels on the way to the crop."""
    asked = watch_sizes(monkeypatch)
    limit = ImageLimits().max_aspect
    for size in ((1, limit), (limit, 1), (10_000_000, 1), (300, 100)):
        assert Preprocessing()(Image.new("RGB", size, (255, 0, 0))).shape == (3, 224, 224)
    assert max(width * height for width, height in asked) <= 16 * 224**2


def test_shrinking_takes_no_more_memory_than_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = watch_sizes(monkeypatch)
    Preprocessing(20)(Image.new("RGB", (30, 6000)))
    assert asked == [(20, 4000)]


def naive_size_within(width: int, height: int, size: int, longer_edge: int) -> tuple[int, int]:
    """FACTS' rule in exact fractions: the shorter edge to `size`, or the longer to `longer_edge`."""
    short, long = min(width, height), max(width, height)
    if long * size > longer_edge * short:
        doubled = 2 * longer_edge * short  # round half to even, as Python's round does
        size, rest = divmod(doubled, 2 * long)
        size += rest > long or (rest == long and size % 2)
    longer = size * long // short
    return (size, longer) if width <= height else (longer, size)


@pytest.mark.parametrize("size", VQA)
@pytest.mark.parametrize("image_size", [s for s in SIZES if max(s) <= 16 * min(s)])
def test_keep_aspect_equals_the_original(size: int, image_size: tuple[int, int]) -> None:
    image = noise(*image_size)
    width, height = naive_size_within(*image_size, size, VQA[size])
    found = Preprocessing(size, "keep_aspect", VQA[size])(image)
    assert found.shape == (3, height, width)
    assert np.abs(found.numpy() - normalised(image.resize((width, height), Image.Resampling.BICUBIC))).max() < 1e-5


def test_keep_aspect_by_hand() -> None:
    base = Preprocessing(480, "keep_aspect", 640)
    for image_size, expected in {
        (640, 480): (640, 480),
        (480, 640): (480, 640),
        (1000, 1000): (480, 480),
        (500, 375): (640, 480),
        (500, 333): (639, 426),  # round(640·333/500) = 426, int(426·500/333) = 639: not 640
        (100, 400): (160, 640),
    }.items():
        assert base.resize(noise(*image_size)).size == expected


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), size=st.sampled_from(sorted(VQA)))
@settings(max_examples=500, deadline=None)
def test_keep_aspect_sizes(width: int, height: int, size: int) -> None:
    preprocessing = Preprocessing(size, "keep_aspect", VQA[size])
    expected = naive_size_within(width, height, size, VQA[size])
    if min(expected) < 16:
        with pytest.raises(InputError, match=f"{width}×{height} pixels would be {min(expected)} pixels thin"):
            preprocessing._size_within(width, height)
    else:
        assert preprocessing._size_within(width, height) == expected


def test_square() -> None:
    image = noise(301, 77)
    expected = normalised(image.resize((50, 50), Image.Resampling.BICUBIC))
    assert np.abs(Preprocessing(50, "square")(image).numpy() - expected).max() < 1e-5


def test_resizing_is_antialiased() -> None:
    """Fine stripes come out grey; without antialiasing some would come out black or white."""
    stripes = Image.fromarray(np.tile(np.array([[[0] * 3], [[255] * 3]], np.uint8), (500, 1000, 1)))
    for preprocessing in (Preprocessing(37), Preprocessing(37, "square"), Preprocessing(37, "keep_aspect", 37)):
        middle = np.asarray(preprocessing.resize(stripes))[5:-5, 5:-5]
        assert np.abs(middle.astype(int) - 127).max() < 8


def test_mean_and_std() -> None:
    image = Image.new("RGB", (8, 8), (0, 51, 255))
    pixels = Preprocessing(4, mean=(0.5, 0.2, 0.0), std=(0.5, 1.0, 2.0))(image)
    assert torch.allclose(pixels[:, 0, 0], torch.tensor([-1.0, 0.0, 0.5]), atol=1e-6)


@pytest.mark.parametrize("image", [Image.new("L", (4, 4)), Image.new("RGBA", (4, 4)), Image.new("RGB", (0, 4))])
def test_only_rgb_images_with_pixels(image: Image.Image) -> None:
    with pytest.raises(InputError, match=r"takes an RGB image, not mode .* open it with picscribe\.media\.open_image"):
        Preprocessing()(image)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"size": 0}, "size must be a whole number of at least 1, not 0"),
        ({"size": 22.4}, "size must be a whole number"),
        ({"size": True}, "size must be a whole number"),
        ({"mode": "crop"}, "mode must be center_crop or keep_aspect or square, not 'crop'"),
        ({"longer_edge": 640}, "goes with mode keep_aspect only, not with center_crop"),
        ({"mode": "keep_aspect"}, r"longer_edge must be a whole number from size \(224\) on, not None"),
        ({"mode": "keep_aspect", "longer_edge": 223}, "not 223"),
        ({"mean": (0.5, 0.5)}, "mean must be three finite numbers"),
        ({"std": (0.5, 0.5, math.nan)}, "std must be three finite numbers"),
        ({"std": (0.5, 0.5, 0.0)}, "std must be above 0"),
    ],
)
def test_senseless_configurations(fields: dict, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Preprocessing(**fields)


THREADS = """
import os, threading
import torch
from PIL import Image
from picscribe.media.preprocessing import Preprocessing, stacked

photo, preprocessing = Image.effect_noise((300, 300), 90).convert("RGB"), Preprocessing(256)

torch.set_num_threads(4)

def tasks():
    return len(os.listdir("/proc/self/task"))

def helpers(work):
    found = []
    def run():
        before = tasks()
        work()
        found.append(tasks() - before)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]

print(helpers(lambda: stacked([preprocessing.read(photo)] * 8)), helpers(lambda: torch.zeros(3, 256, 256).mul(2)))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux shows them")
def test_reading_threads_start_no_torch_threads() -> None:
    """Any thread that computes with torch gets some, and then they all wait for each other more than they compute."""
    ran = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    reading, computing = map(int, ran.stdout.split())
    assert reading == 0
    assert computing > 0


def test_stacked() -> None:
    pixels = [torch.rand(3, 4, 5) for _ in range(3)]
    assert torch.equal(stacked(pixels), torch.stack(pixels))

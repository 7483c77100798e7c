"""Opening every kind of image that Pillow reads: right colours, right side up, whatever the source."""

import io
import os
import re
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, features

from picscribe.errors import ConfigurationError, InputError
from picscribe.media import FolderContent, ImageLimits, find_images, open_image

WIDTH, HEIGHT = 40, 24
Image.init()  # so that Image.SAVE knows every format


def photo(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """A smooth picture whose four corners differ, so that a wrong turn shows."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return Image.fromarray((np.stack([x, y, 1 - x * y], axis=2) * 255).round().astype(np.uint8))


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def close(image: Image.Image, expected: Image.Image | np.ndarray, tolerance: int = 0) -> bool:
    return np.abs(pixels(image) - np.asarray(expected).astype(int)).max() <= tolerance


LOSSLESS = ["PNG", "BMP", "TIFF", "TGA", "PPM", "PCX", "SGI", "DIB", "ICO", "ICNS", "JPEG2000", "QOI", "WEBP"]


def test_every_source_of_the_same_image(tmp_path: Path) -> None:
    content = encode(photo(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    sources = [path, str(path), content, bytearray(content), io.BytesIO(content), Image.open(path), photo()]
    sources.append(np.asarray(photo()))
    for source in sources:
        opened = open_image(source)
        assert type(opened) is Image.Image
        assert close(opened, photo())
    with path.open("rb") as stream:
        assert close(open_image(stream), photo())


@pytest.mark.parametrize("suffix", [".jpg", ".txt", ".eps", ""])
def test_suffix_is_not_believed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(encode(photo(), "PNG"))
    assert close(open_image(path), photo())


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_formats(format: str) -> None:
    if format == "QOI" and "QOI" not in Image.SAVE:
        pytest.skip("this Pillow does not write QOI")
    if format in ("ICO", "ICNS"):
        square = photo(32, 32)
        options = {"sizes": [(32, 32)]} if format == "ICO" else {"append_images": [square]}
        opened = open_image(encode(square, format, **options))
        assert close(opened.resize((32, 32)), square, tolerance=0 if format == "ICO" else 255)
        return
    assert close(open_image(encode(photo(), format, **({"lossless": True} if format == "WEBP" else {}))), photo())


@pytest.mark.parametrize("format", ["JPEG", "AVIF", "WEBP", "MPO"])
def test_lossy_formats(format: str) -> None:
    if format == "AVIF" and "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    assert close(open_image(encode(photo(), format, quality=95)), photo(), tolerance=24)


def test_stream_without_seek_or_name() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(encode(photo(), "PNG"))
    with os.fdopen(reading, "rb") as stream:
        assert close(open_image(stream), photo())


# -- modes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_opaque_modes_are_pillows_own_conversion(mode: str) -> None:
    image = photo().convert(mode)
    assert close(open_image(image), image.convert("RGB"))


@pytest.mark.parametrize("kind", ["JPEG CMYK", "TIFF CMYK", "JPEG L", "PNG 1", "GIF P"])
def test_opaque_modes_in_files(kind: str) -> None:
    format, mode = kind.split()
    expected = photo().convert(mode).convert("RGB")
    assert close(open_image(encode(photo().convert(mode), format)), expected, tolerance=12)


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Alpha over white, written out."""
    share = alpha[..., None] / 255
    return rgb * share + 255 * (1 - share)


ALPHA = np.linspace(0, 255, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).round().astype(np.uint8)


@pytest.mark.parametrize("format", [None, "PNG", "WEBP", "TIFF", "TGA"])
def test_rgba_over_white(format: str | None) -> None:
    rgba = Image.fromarray(np.dstack([np.asarray(photo()), ALPHA]))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    source = encode(rgba, format, **options) if format else rgba
    assert close(open_image(source), over_white(np.asarray(photo()), ALPHA), tolerance=1)
    assert close(open_image(np.asarray(rgba)), over_white(np.asarray(photo()), ALPHA), tolerance=1)


def test_grey_with_alpha_over_white() -> None:
    grey = photo().convert("L")
    expected = over_white(np.asarray(grey.convert("RGB")), ALPHA)
    both = Image.merge("LA", [grey, Image.fromarray(ALPHA)])
    assert close(open_image(encode(both, "PNG")), expected, tolerance=1)
    assert close(open_image(both), expected, tolerance=1)


@pytest.mark.parametrize("mode", ["RGBa", "La"])
def test_premultiplied_alpha_over_white(mode: str) -> None:
    base = Image.fromarray(np.dstack([np.asarray(photo()), np.full_like(ALPHA, 128)]))
    straight = base if mode == "RGBa" else base.convert("LA")
    expected = over_white(np.asarray(straight.convert("RGB")), np.full_like(ALPHA, 128))
    assert close(open_image(straight.convert(mode)), expected, tolerance=2)


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_palette_with_transparency_over_white(format: str) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 10, 20, 30, 40, 250])
    palette.putpixel((1, 0), 1)
    opened = open_image(encode(palette, format, transparency=1))
    assert pixels(opened).tolist() == [[[200, 10, 20], [255, 255, 255]]]


def test_palette_with_half_transparent_colours() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 10, 20, 30, 40, 250])
    palette.putpixel((1, 0), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = open_image(encode(palette, "PNG", transparency=bytes([255, 128])))
    assert np.abs(pixels(opened)[0, 1] - over_white(np.array([[30, 40, 250]]), np.array([128]))[0]).max() <= 1


@pytest.mark.parametrize(("mode", "colours"), [("RGB", [(9, 8, 7), (1, 2, 3)]), ("L", [9, 1])])
def test_one_transparent_colour(mode: str, colours: list) -> None:
    image = Image.new(mode, (2, 1), colours[0])
    image.putpixel((1, 0), colours[1])
    opened = pixels(open_image(encode(image, "PNG", transparency=colours[1])))
    assert opened[0, 1].tolist() == [255, 255, 255]
    assert opened[0, 0].tolist() == ([9, 8, 7] if mode == "RGB" else [9, 9, 9])


DEEP = np.array([[0, 257, 1000], [32768, 65278, 65535]], dtype=np.uint16)
DEEP_AS_BYTES = [[0, 1, 4], [128, 254, 255]]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", None])
def test_sixteen_bits_are_scaled(format: str | None) -> None:
    image = Image.fromarray(DEEP)
    if format == "PPM":  # written by hand, as older versions of Pillow do not write it
        content = b"P5 3 2 65535\n" + DEEP.astype(">u2").tobytes()
    opened = open_image(content if format == "PPM" else encode(image, format) if format else image)
    assert pixels(opened)[..., 0].tolist() == DEEP_AS_BYTES
    assert (pixels(opened) == pixels(opened)[..., :1]).all()


def test_big_endian_sixteen_bits() -> None:
    image = Image.frombytes("I;16B", (3, 2), DEEP.astype(">u2").tobytes())
    assert pixels(open_image(image))[..., 0].tolist() == DEEP_AS_BYTES


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (DEEP.astype(np.int32), DEEP_AS_BYTES),
        (np.array([[0, 65536], [131072, 131072]], np.int32), [[0, 128], [255, 255]]),
        (np.array([[-100, 0], [100, 155]], np.int32), [[0, 100], [200, 255]]),
        (np.array([[0, 0.5], [1, 0.25]], np.float32), [[0, 128], [255, 64]]),
        (np.array([[0, 100.4], [255, 1]], np.float32), [[0, 100], [255, 1]]),
        (np.array([[-1, 0], [1, 1]], np.float32), [[0, 128], [255, 255]]),
        (np.array([[np.nan, -1], [1, np.inf]], np.float32), [[0, 0], [255, 255]]),
        (np.array([[np.nan, np.nan]], np.float32), [[0, 0]]),
        (np.array([[-3e38, 3e38]], np.float32), [[0, 255]]),
        (np.array([[7e9, 7e9]], np.float32), [[0, 0]]),
    ],
)
def test_modes_without_a_range(values: np.ndarray, expected: list[list[int]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(open_image(Image.fromarray(values)))[..., 0].tolist() == expected
        assert pixels(open_image(encode(Image.fromarray(values), "TIFF")))[..., 0].tolist() == expected


def test_lab() -> None:
    if not features.check("littlecms2"):
        pytest.skip("this Pillow has no LittleCMS")
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    dull = photo().point(lambda level: 64 + level // 2)  # bright colours lose more in 8-bit LAB
    lab = ImageCms.applyTransform(dull, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert lab is not None
    opened = open_image(encode(lab, "TIFF"))
    assert close(opened, dull, tolerance=16)
    assert np.abs(pixels(opened) - pixels(dull)).mean() < 1


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(format: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"lossless": True} if format == "WEBP" else {}
    content = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(content)).n_frames == 3
    assert close(open_image(content), frames[0])


def test_current_frame_of_a_pillow_image() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    image = Image.open(io.BytesIO(encode(frames[0], "PNG", save_all=True, append_images=frames[1:])))
    image.seek(1)
    assert close(open_image(image), frames[1])
    assert image.tell() == 1


@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16"]),
    width=st.integers(1, 30),
    height=st.integers(1, 30),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_any_mode_and_size(mode: str, width: int, height: int, seed: int) -> None:
    bands = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    rgba = Image.fromarray(bands)
    image = rgba.convert("L").convert("I").convert("I;16") if mode == "I;16" else rgba.convert("RGB").convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(bands[..., 3]))
    opened = open_image(image)
    assert opened.mode == "RGB" and opened.size == (width, height)


# -- turning ----------------------------------------------------------------------------------------------------------

TURNED = {  # orientation → how the stored rows are made from upright ones: the EXIF specification's table, in numpy
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


def turned(orientation: int, format: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](np.asarray(photo()))))
    return encode(stored, format, exif=exif, **({"lossless": True} if format == "WEBP" else {"quality": 95}))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation(orientation: int, format: str) -> None:
    content = turned(orientation, format)
    opened = open_image(content)
    assert opened.size == (WIDTH, HEIGHT)
    assert close(opened, photo(), tolerance=24 if format == "JPEG" else 0)
    assert close(open_image(Image.open(io.BytesIO(content))), opened)


def test_opening_twice_turns_once() -> None:
    opened = open_image(turned(6, "JPEG"))
    assert close(open_image(opened), opened)
    assert opened.getexif() == {}


@pytest.mark.parametrize("exif", [b"broken", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", b""])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_unreadable_exif_counts_as_none(exif: bytes) -> None:
    assert close(open_image(encode(photo(), "PNG", exif=b"Exif\0\0" + exif)), photo())


@pytest.mark.parametrize("value", [b"\3\0\1\0\0\0\0\0\0\0", b"\3\0\1\0\0\0\t\0\0\0", b"\2\0\2\0\0\0" + b"6\0\0\0"])
def test_meaningless_orientation_counts_as_upright(value: bytes) -> None:
    """An orientation of 0, of 9, and of the text "6", in EXIF data written by hand."""
    exif = b"Exif\0\0II*\0\x08\0\0\0" + b"\1\0" + b"\x12\1" + value + b"\0\0\0\0"
    image = Image.open(io.BytesIO(encode(photo(), "PNG", exif=exif)))
    assert image.getexif()[0x0112] in (0, 9, "6")
    assert close(open_image(image), photo())


# -- side effects -----------------------------------------------------------------------------------------------------


def test_the_source_is_left_as_it_was() -> None:
    image = photo()
    opened = open_image(image)
    opened.paste((0, 0, 0), (0, 0, WIDTH, HEIGHT))
    assert close(image, photo())
    array = np.asarray(photo()).copy()
    open_image(array).paste((0, 0, 0), (0, 0, WIDTH, HEIGHT))
    assert close(Image.fromarray(array), photo())


def test_no_global_state_is_changed() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    with pytest.raises(InputError):
        open_image(encode(photo(200, 200), "JPEG")[:-900])
    open_image(photo())
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


def test_many_threads_good_and_bad_together(tmp_path: Path) -> None:
    for index in range(40):
        content = encode(photo(WIDTH + index, HEIGHT), "JPEG")
        (tmp_path / f"{index}.jpg").write_bytes(content if index % 4 else content[:200])
    barrier = threading.Barrier(8, timeout=30)

    def width_of(index: int) -> int | None:
        if index < 8:
            barrier.wait()
        try:
            return open_image(tmp_path / f"{index}.jpg").width
        except InputError as error:
            assert f"{index}.jpg" in str(error)
            return None

    with ThreadPoolExecutor(8) as pool:
        widths = list(pool.map(width_of, range(40)))
    assert widths == [WIDTH + index if index % 4 else None for index in range(40)]


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [photo(), np.asarray(photo()), encode(photo(), "PNG")])
def test_limits_of_size_and_aspect(source: object) -> None:
    assert open_image(source, ImageLimits(max_pixels=WIDTH * HEIGHT)).size == (WIDTH, HEIGHT)
    with pytest.raises(InputError, match=f"40×24 pixels, over the limit of {WIDTH * HEIGHT - 1}"):
        open_image(source, ImageLimits(max_pixels=WIDTH * HEIGHT - 1))
    with pytest.raises(InputError, match="one side over 1 times the other"):
        open_image(source, ImageLimits(max_aspect=1))


def test_limit_of_bytes(tmp_path: Path) -> None:
    content = encode(photo(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    for source in (content, path, io.BytesIO(content)):
        if isinstance(source, io.BytesIO):
            source.seek(0)
        with pytest.raises(InputError, match=f"longer than the limit of {len(content) - 1} bytes"):
            open_image(source, ImageLimits(max_bytes=len(content) - 1))
    assert open_image(path, ImageLimits(max_bytes=len(content))).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("field", ["max_pixels", "max_bytes", "max_aspect"])
@pytest.mark.parametrize("value", [0, -1, 1.5, None])
def test_senseless_limits(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"ImageLimits.{field} must be a whole number"):
        ImageLimits(**{field: value})


# -- folders ----------------------------------------------------------------------------------------------------------


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def listed(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder).files]


def test_natural_order(tmp_path: Path) -> None:
    names = ["a/photo2.jpg", "a/photo10.jpg", "a10/x.png", "B.png", "c.txt", "photo1.jpg", "photo01b.jpg", "photo9.jpg"]
    fill(tmp_path, "photo100.jpg", *reversed(names))
    assert listed(tmp_path) == [*names, "photo100.jpg"]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", ".DS_Store", ".git/x.jpg", "sub/.thumb.jpg", "sub/b.jpg")
    assert listed(tmp_path) == ["a.jpg", "sub/b.jpg"]


def test_a_hidden_folder_itself_may_be_named(tmp_path: Path) -> None:
    fill(tmp_path, ".photos/a.jpg")
    assert listed(tmp_path / ".photos") == ["a.jpg"]


def test_links(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "c.jpg").symlink_to("a.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    assert listed(tmp_path) == ["a.jpg", "c.jpg", "dangling.jpg", "sub/b.jpg"]
    assert find_images(tmp_path).linked == (tmp_path / "sub" / "loop",)


def test_empty_folder(tmp_path: Path) -> None:
    assert find_images(tmp_path) == FolderContent((), {}, ())


def test_missing_folder_and_file_for_a_folder(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    for name in ("nowhere", "a.jpg"):
        with pytest.raises(InputError, match=rf"folder .*{name} cannot be read"):
            find_images(tmp_path / name)


def test_a_folder_within_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a.jpg", "closed/b.jpg", "open/c.jpg")
    scandir = os.scandir

    def refuse_closed(path: Any = ".") -> Any:  # permissions would not keep root out
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_closed)
    found = find_images(tmp_path)
    assert [path.name for path in found.files] == ["a.jpg", "c.jpg"]
    assert list(found.unreadable) == [tmp_path / "closed"]
    assert re.search(r"closed cannot be read \(Permission denied\)", str(found.unreadable[tmp_path / "closed"]))
    with pytest.raises(InputError, match="closed cannot be read"):
        find_images(tmp_path / "closed")


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_common_photos_load_none_of_pillows_other_formats(form: str, tmp_path: Path) -> None:
    photo = tmp_path / f"photo.{form.lower()}"
    Image.new("RGB", (8, 8), "red").save(photo)
    code = (
        "import sys; from picscribe.media.images import open_image; open_image(sys.argv[1]);"
        "print(*(name for name in sys.modules if name.startswith('PIL.') and name.endswith('Plugin')))"
    )
    done = subprocess.run([sys.executable, "-c", code, photo], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("PIL.").removesuffix("ImagePlugin") for name in done.stdout.split()}
    assert loaded <= {"Bmp", "Gif", "Jpeg", "Ppm", "Png"}

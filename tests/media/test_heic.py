"""HEIC photos through pillow-heif, which is not registered with Pillow; without it, an error that names the extra."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picscribe.cli.options.photos import find_photos
from picscribe.errors import InputError
from picscribe.media import ImageLimits, open_image

pillow_heif = pytest.importorskip("pillow_heif")


def photo(width: int = 48, height: int = 32) -> Image.Image:
    """Smooth, its corners red, yellow, blue and white."""
    corners = np.array([[(220, 20, 20), (220, 220, 20)], [(20, 20, 220), (240, 240, 240)]], np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def heic(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, quality=95, **options)
    return stream.getvalue()


def distance(one: Image.Image, other: Image.Image) -> float:
    assert (one.mode, one.size) == ("RGB", other.size)
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).mean())


def test_a_photo_and_nothing_is_registered(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.jpg").write_bytes(heic(photo()))  # phones call them so, too
    assert distance(open_image(tmp_path / "IMG_1.jpg"), photo()) < 3
    assert distance(open_image(heic(photo())), photo()) < 3
    assert "HEIF" not in Image.OPEN
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(tmp_path / "IMG_1.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_once(orientation: int) -> None:
    """libheif turns the pixels, and the EXIF data beside them must not turn them again."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation → Pillow's Transpose that stores it so
    stored = photo() if orientation == 1 else photo().transpose(Image.Transpose(back[orientation]))
    assert distance(open_image(heic(stored, exif=exif.tobytes())), photo()) < 3


def test_grey_and_transparent_ones() -> None:
    assert distance(open_image(heic(photo().convert("L"))), photo().convert("L").convert("RGB")) < 3
    clear = photo().copy()
    clear.putalpha(0)
    assert distance(open_image(heic(clear)), Image.new("RGB", photo().size, "white")) < 1


def test_ten_bits_a_channel() -> None:
    deep = (np.asarray(photo()).astype(np.uint16) * 257).tobytes()
    stream = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", photo().size, deep).save(stream, quality=95)
    assert distance(open_image(stream.getvalue()), photo()) < 3


def test_the_size_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    content = heic(photo())
    monkeypatch.setattr("pillow_heif.as_plugin.HeifImageFile.load", lambda _: pytest.fail("decoded"))
    with pytest.raises(InputError, match="48×32 pixels, over the limit of 100"):
        open_image(content, ImageLimits(max_pixels=100))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_half_a_photo_is_an_error(share: float) -> None:
    content = heic(photo(200, 150))
    with pytest.raises(InputError, match="damaged or incomplete"):
        open_image(content[: int(len(content) * share)])


def test_without_the_package_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.heic", "b.HEIC", "c.heif"):
        (tmp_path / name).write_bytes(heic(photo()))
    photo().save(tmp_path / "d.png")
    (tmp_path / "e.mov").write_bytes(b"")
    assert len(find_photos([str(tmp_path)])) == 4
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
    monkeypatch.setattr("picscribe.media.images.reads_heic", lambda: False)
    with pytest.raises(InputError, match=r'a\.heic is a HEIC photo, .*: pip install "picscribe\[heic\]"'):
        open_image(tmp_path / "a.heic")
    readable, together = find_photos([str(tmp_path)])
    assert readable.path.endswith("d.png")
    assert str(together.source) == f'{tmp_path}: 3 HEIC photos need pillow-heif: pip install "picscribe[heic]"'
    assert "skipped 1 video (name them" in capsys.readouterr().err


def test_the_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """libheif ends some of its messages with a line feed."""
    content = heic(photo())
    place = content.index(b"iloc") + 8
    with pytest.raises(InputError) as caught:
        open_image(content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :])
    assert "\n" not in str(caught.value)

"""The sample of photos that is opened, and the sheet that is drawn of it."""

import io
from pathlib import Path

import pytest
from PIL import Image

from picscribe.datasets import Dataset, Example, FileSlice
from picscribe.errors import InputError
from picscribe.evaluation.contact_sheet import (
    BROKEN,
    MARGIN,
    PHOTO,
    TILES,
    _drawable,
    _fitted,
    _font,
    _wrapped,
    choose_sample,
    draw_contact_sheet,
    open_sample,
)


def photo(path: Path, colour: str = "red", size: tuple[int, int] = (300, 100)) -> Path:
    Image.new("RGB", size, colour).save(path)
    return path


def dataset(*examples: Example, **more: str) -> Dataset:
    return Dataset(Path("x"), "tsv", "captions", examples, **more)  # type: ignore[arg-type]


def test_a_sample_is_even_and_the_same_each_time() -> None:
    examples = [Example(str(k), Path(str(k)), ()) for k in range(100)]
    assert [one.id for one in choose_sample(examples, 4)] == ["0", "25", "50", "75"]
    assert choose_sample(examples, 100) == examples
    assert choose_sample(examples[:3], 4) == examples[:3]
    assert len({one.id for one in choose_sample(examples, 99)}) == 99


def test_formats_sizes_and_what_does_not_open(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (5, 6)).save(content, "WEBP")
    (tmp_path / "x.tar").write_bytes(b"..." + content.getvalue())
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    examples = [
        Example("1", photo(tmp_path / "a.png"), ("x",), where="row 1"),
        Example("2", tmp_path / "a.png", ("y",), where="row 2"),  # a second question about the same photo
        Example("3", FileSlice(tmp_path / "x.tar", 3, len(content.getvalue()), "3.webp"), (), where="row 3"),
        Example("4", tmp_path / "broken.jpg", (), where="row 4", split="val"),
        Example("5", FileSlice(tmp_path / "x.tar", 3, 10_000, "5.webp"), (), where="row 5"),
    ]
    opened = open_sample(examples)
    assert opened.formats == {"PNG": 1, "WEBP": 1}
    assert opened.sizes == ((300, 100), (5, 6))
    assert [(odd.where, odd.split) for odd in opened.unopenable] == [("row 4", "val"), ("row 5", "")]
    assert "broken.jpg" in opened.unopenable[0].problem
    assert "x.tar: 5.webp" in opened.unopenable[1].problem


def test_a_sheet_shows_photos_and_marks_those_that_do_not_open(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"no photo")
    examples = [
        Example("a.png", photo(tmp_path / "a.png", "blue", (440, 330)), ("A blue photo 猫 " * 20,)),
        Example("b" * 300, tmp_path / "b.png", ()),
    ]
    sheet = draw_contact_sheet(dataset(*examples), examples)
    assert sheet.width == MARGIN + 2 * (PHOTO[0] + MARGIN)
    assert sheet.getpixel((MARGIN + 110, MARGIN + 80)) == (0, 0, 255)
    assert sheet.getpixel((MARGIN + PHOTO[0] + MARGIN, MARGIN)) == BROKEN
    again = draw_contact_sheet(dataset(*examples), examples)
    assert sheet.tobytes() == again.tobytes()
    below = sheet.crop((MARGIN, MARGIN + PHOTO[1], MARGIN + PHOTO[0], sheet.height))
    assert min(below.convert("L").tobytes()) < 60  # something is written there


def test_a_video_is_not_opened(tmp_path: Path) -> None:
    example = Example("v", tmp_path / "gone.mp4", ("x",))
    sheet = draw_contact_sheet(dataset(example, medium="videos"), [example])
    assert all(pixel != BROKEN for _, pixel in sheet.getcolors(1 << 20) or [])


def test_many_photos_are_a_sample(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png", size=(4, 3))
    examples = [Example(str(k), source, ("x",)) for k in range(500)]
    few = draw_contact_sheet(dataset(*examples), examples[:TILES])
    assert draw_contact_sheet(dataset(*examples), examples).size == few.size


def test_a_data_set_without_examples_is_an_error() -> None:
    with pytest.raises(InputError, match="no example to show"):
        draw_contact_sheet(dataset(), [])


@pytest.mark.parametrize("text", ["", "word", "x" * 400, "many words " * 40, "猫が座る " * 30, "a\nb\tc"])
def test_texts_fit_their_tile(text: str) -> None:
    font = _font()
    lines = [*_wrapped(text, font, 3), _fitted(text, font)]
    assert len(lines) <= 4
    assert all(font.getlength(line) <= PHOTO[0] for line in lines)


def test_letters_that_the_font_lacks_are_plain_ones_or_question_marks() -> None:
    assert _drawable("猫\ud7a4 x") == "?? x"
    assert _drawable("café") in ("café", "cafe")
    assert "?" not in _drawable("“naïve” – it’s…")

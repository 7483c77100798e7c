"""Opens a sample of a data set's photos: their formats and sizes, those that do not open, and a sheet to look at."""

import io
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from picscribe.datasets import Dataset, Example, Oddity
from picscribe.errors import InputError
from picscribe.media.images import open_image

COLUMNS, TILES = 6, 36
PHOTO = (220, 165)
"""Width and height in pixels that a photo is fitted into."""
MARGIN, TEXT_SIZE, LINE, LINES = 10, 13, 17, 4
INK, PALE, BROKEN = (20, 20, 20), (235, 235, 235), (170, 30, 30)
PLAIN = str.maketrans("“”‘’–—", "\"\"''--")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class OpenedSample:
    """What a sample of photos is: how many of each format, (width, height) of each, and those that do not open."""

    formats: dict[str, int]
    sizes: tuple[tuple[int, int], ...]
    unopenable: tuple[Oddity, ...]


def choose_sample(examples: Sequence[Example], size: int) -> list[Example]:
    """At most `size` examples, evenly over all: the same each time."""
    return [examples[k * len(examples) // size] for k in range(size)] if len(examples) > size else list(examples)


def open_sample(examples: Sequence[Example]) -> OpenedSample:
    """Open each photo; a question's photo once, however many are asked about it. Videos are not opened here."""
    formats: Counter[str] = Counter()
    sizes, unopenable = [], []
    for example in {example.source: example for example in examples}.values():
        try:
            source = example.image()
            sizes.append(open_image(source).size)
        except InputError as error:
            reason = str(error).removeprefix(f"{example.source} ")
            name = "" if example.where == str(example.source) else f"{example.source} "
            unopenable.append(Oddity(example.where, f"{name}cannot be opened: {reason}", example.split))
            continue
        formats[_format(source)] += 1
    return OpenedSample(dict(formats.most_common()), tuple(sizes), tuple(unopenable))


def _format(source: Path | bytes) -> str:
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        return image.format or "unknown"


def draw_contact_sheet(dataset: Dataset, examples: Sequence[Example]) -> Image.Image:
    """A grid of at most 36 of the examples, evenly over all: each photo over its id and its first text.

    A photo that does not open is an empty cell that says so; of a video there is only the word. Raises InputError where
    there is nothing to show.
    """
    chosen = choose_sample(examples, TILES)
    if not chosen:
        raise InputError(f"{dataset.path}: there is no example to show")
    columns = min(COLUMNS, len(chosen))
    width, height = PHOTO[0] + MARGIN, PHOTO[1] + LINES * LINE + MARGIN
    sheet = Image.new("RGB", (MARGIN + columns * width, MARGIN + -(-len(chosen) // columns) * height), "white")
    for index, example in enumerate(chosen):
        corner = (MARGIN + index % columns * width, MARGIN + index // columns * height)
        _draw_tile(sheet, corner, example, dataset.medium == "videos")
    return sheet


def _draw_tile(sheet: Image.Image, corner: tuple[int, int], example: Example, is_video: bool) -> None:
    draw = ImageDraw.Draw(sheet)
    left, top = corner
    font = _font()
    try:
        photo = None if is_video else open_image(example.image())
    except InputError:
        frame = (left, top, left + PHOTO[0] - 1, top + PHOTO[1] - 1)
        draw.rectangle(frame, fill=PALE, outline=BROKEN)
        draw.line((left, top, frame[2], frame[3]), fill=BROKEN)
        draw.text((left + 8, top + 8), "cannot be opened", fill=BROKEN, font=font)
    else:
        if photo is None:
            draw.rectangle((left, top, left + PHOTO[0] - 1, top + PHOTO[1] - 1), fill=PALE)
            draw.text((left + 8, top + 8), "video", fill=INK, font=font)
        else:
            photo.thumbnail(PHOTO)
            sheet.paste(photo, (left + (PHOTO[0] - photo.width) // 2, top + (PHOTO[1] - photo.height) // 2))
    text = " ".join(filter(None, [example.question, example.texts[0] if example.texts else ""]))
    lines = [_fitted(example.id, font), *_wrapped(text, font, LINES - 1)]
    for number, line in enumerate(lines):
        draw.text((left, top + PHOTO[1] + 2 + number * LINE), line, fill=INK, font=font)


@cache
def _font() -> Font:
    return ImageFont.load_default(TEXT_SIZE)


def _has_glyph(character: str) -> bool:
    """Whether Pillow's font can draw it: a FreeType font draws the same box for all it lacks."""
    try:
        drawn, lacking = (_font().getmask(one) for one in (character, "\U0010ffff"))
    except UnicodeEncodeError:  # the font of a Pillow without FreeType has only Latin letters
        return False
    return (drawn.size, bytes(drawn)) != (lacking.size, bytes(lacking))


def _drawable(text: str) -> str:
    """The text on one line in letters that the font has: é may become e, a letter unlike any other a question mark."""
    return "".join(map(_drawn_as, " ".join(text.split())))


@cache
def _drawn_as(character: str) -> str:
    if _has_glyph(character):
        return character
    plain = unicodedata.normalize("NFKD", character.translate(PLAIN))[0]
    return plain if _has_glyph(plain) else "?"


def _fitted(text: str, font: Font) -> str:
    """The text on one line, cut at its beginning where it is too long: names differ at their ends."""
    line = _drawable(text[-200:])
    if font.getlength(line) <= PHOTO[0]:
        return line
    while line and font.getlength("..." + line) > PHOTO[0]:
        line = line[1:]
    return "..." + line


def _wrapped(text: str, font: Font, most: int) -> list[str]:
    """The text on at most so many lines; a word longer than a line is broken, and a cut text ends in dots."""
    lines = [""]
    for word in _drawable(text[:500]).split(" "):
        line = f"{lines[-1]} {word}".strip()
        if font.getlength(line) <= PHOTO[0]:
            lines[-1] = line
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if font.getlength(lines[-1] + character) > PHOTO[0]:
                lines.append("")
            lines[-1] += character
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and font.getlength(last + "...") > PHOTO[0]:
        last = last[:-1]
    return [*lines[: most - 1], last + "..."]

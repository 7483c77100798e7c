"""Texts about images in JSON Lines, an image and a question, or any other text, a line."""

from dataclasses import dataclass
from pathlib import Path

from picscribe.datasets.media_folder import stored_path
from picscribe.errors import InputError
from picscribe.text_files import parse_json, read_text, split_lines


@dataclass(frozen=True)
class ImageText:
    """A text about an image; `id` is what its result is known by."""

    image: str
    text: str
    id: int | str


def read_image_texts(file: Path, name: str) -> list[ImageText]:
    """Every line of a file, in order, its text under `name`; a relative `image` is relative to the file.

    A missing `id` (or `question_id`) is the line's number. Raises InputError, naming the line, for what is not such a
    file, holds an id twice or no line at all.
    """
    lines = split_lines(read_text(file))
    found, seen = [], dict[int | str, int]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        text = _read_line(file, number, line, name)
        if text.id in seen:
            raise InputError(
                f"{file}, line {number}: id {text.id!r} is in line {seen[text.id]} already: give each line its own id"
            )
        seen[text.id] = number
        found.append(text)
    if not found:
        raise InputError(f"{file}: is empty: write one JSON object on each line")
    return found


def _read_line(file: Path, number: int, line: str, name: str) -> ImageText:
    where = f"{file}, line {number}"
    fields = parse_json(line, where)
    if not isinstance(fields, dict):
        raise InputError(f'{where}: must be an object such as {{"image": "a.jpg", "{name}": "…"}}')
    for key in ("image", name):
        if not isinstance(fields.get(key), str) or not fields[key].strip():
            raise InputError(f"{where}: {key!r} must be a text that is not empty, not {fields.get(key)!r}")
    given = fields.get("id", fields.get("question_id", number))
    if not isinstance(given, int | str) or isinstance(given, bool):
        raise InputError(f"{where}: 'id' must be a number or a text, not {given!r}")
    if "\0" in fields["image"]:
        raise InputError(f"{where}: 'image' has a null character, which no file name can have: remove it")
    return ImageText(str(stored_path(file.parent / fields["image"])), fields[name], given)

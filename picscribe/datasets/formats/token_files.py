"""Reads the text forms of Flickr8k and Flickr30k: *.token files, and the captions.txt and results.csv of Kaggle."""

import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example, Oddity
from picscribe.datasets.formats.format import Format
from picscribe.datasets.formats.karpathy import FLICKR_FOLDERS
from picscribe.datasets.media_folder import find_folder
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import LONGEST_CAPTION, caption, inside, shown
from picscribe.errors import InputError
from picscribe.text_files import read_text, split_lines

SUFFIXES = (".txt", ".token", ".csv")
IMAGE_COLUMNS = ("image", "image_name", "filename")
CAPTION_COLUMNS = ("caption", "comment")
LISTS = {"train": ".trainImages.txt", "dev": ".devImages.txt", "test": ".testImages.txt"}
"""The split of each list of photos that comes with Flickr8k, such as Flickr_8k.trainImages.txt."""

LONGEST_LINE = LONGEST_CAPTION + 500
"""Characters, with the photo's name."""

_TOKEN = re.compile(r"([^\t#]+)#(\d+)\t(.*)")
# In Kaggle's results.csv of Flickr30k one line, of 2199200615.jpg, lacks its second bar.
_NUMBERED = re.compile(r"\s*\d+ +(.*)")

Line = tuple[str, str, str]
"""Name of the photo, name of the caption ("" where it has none), caption."""


def fits_tokens(path: Path) -> bool:
    """Whether its first line is such as 1000268201_693b08cb0e.jpg#0, a tab and a caption."""
    return _TOKEN.match(_first_line(path)) is not None


def fits_table(path: Path) -> bool:
    """Whether its first line names a column of photos and one of captions."""
    return _delimiter(_first_line(path)) != ""


def read_tokens(path: Path, images: Path | None) -> Dataset:
    """Flickr8k.token.txt and results_20130124.token (https://shannon.cs.illinois.edu/DenotationGraph/).

    A photo's id is its file name, its captions keep their order. The splits are those of the lists next to the
    file (`LISTS`); a photo in none has the split "". The photos are looked for as `find_folder` says.
    """
    return _read(path, images, TOKENS.name, enumerate(_lines(path), 1), _token_line)


def read_table(path: Path, images: Path | None) -> Dataset:
    """A header such as "image,caption" or "image_name| comment_number| comment", and a line for each caption.

    Between commas a caption may be in quotes, with those inside doubled; one that is not may hold commas. Otherwise
    as `read_tokens`.
    """
    lines = _lines(path)
    delimiter = _delimiter(lines[0])
    if not delimiter:
        raise InputError(
            f"{path}: line 1 must name the columns, such as 'image,caption' or "
            f"'image_name| comment_number| comment', found {shown(lines[0])}"
        )
    columns = lines[0].count(delimiter) + 1
    split_line = _bar_line if delimiter == "|" else _comma_line
    numbered = list(enumerate(lines, 1))[1:]
    return _read(path, images, TABLE.name, numbered, lambda line: split_line(line, columns))


def _read(
    path: Path, images: Path | None, form: str, lines: Iterable[tuple[int, str]], read_line: Callable[[str], Line]
) -> Dataset:
    rows = Rows()
    splits = _splits(path, rows)
    captions: dict[str, list[str]] = {}
    wheres: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    for number, line in lines:
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        with rows.reading(where, splits.get(_leading_name(line), "")):
            if len(line) > LONGEST_LINE:
                raise InputError(f"has {len(line):,} characters ({shown(line)}): put one caption on each line")
            name, label, words = read_line(line)
            name = str(inside(name, "the photo's name"))
            words = caption(words, "the caption")
            if label and (name, label) in seen:
                raise InputError(f"caption {label} of {shown(name)} is there twice: remove one")
            seen.add((name, label))
            captions.setdefault(name, []).append(words)
            wheres.setdefault(name, where)
    folder = find_folder(path, images, (inside(name, "name") for name in captions), FLICKR_FOLDERS)
    for name, texts in captions.items():
        rows.add(Example(name, folder / name, tuple(texts), split=splits.get(name, ""), where=wheres[name]))
    return rows.dataset(path, form, "captions")


def _leading_name(line: str) -> str:
    """The photo's name where the line is in order: a broken line is an oddity of its split."""
    return re.split(r"[#,|\t]", line[:300], maxsplit=1)[0].strip()


def _token_line(line: str) -> Line:
    found = _TOKEN.fullmatch(line)
    if not found:
        raise InputError(f"must have the form name.jpg#0, a tab, a caption; found {shown(line)}")
    return found[1], found[2], found[3]


def _comma_line(line: str, columns: int) -> Line:
    try:
        fields = next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise InputError(
            f'its quotes do not match ({error}): put " around the caption and double those inside'
        ) from None
    if len(fields) < columns:
        raise InputError(f"must have {columns} columns, found {len(fields)}: {shown(line)}")
    return fields[0].strip(), fields[1].strip() if columns > 2 else "", ",".join(fields[columns - 1 :])


def _bar_line(line: str, columns: int) -> Line:
    fields = line.split("|", columns - 1)
    if len(fields) == columns - 1 == 2 and (numbered := _NUMBERED.fullmatch(fields[1])):
        fields = [fields[0], fields[1].split()[0], numbered[1]]
    if len(fields) < columns:
        raise InputError(f"must have {columns} columns, found {len(fields)}: {shown(line)}")
    return fields[0].strip(), fields[1].strip() if columns > 2 else "", fields[-1]


def _splits(path: Path, rows: Rows) -> dict[str, str]:
    """The split of each photo that is named by the lists next to the file."""
    splits: dict[str, str] = {}
    for split, ending in LISTS.items():
        for file in sorted(path.parent.glob(f"[!.]*{ending}")):
            for number, line in enumerate(_lines(file), 1):
                name = line.strip()
                if name and splits.setdefault(name, split) != split:
                    problem = f"{shown(name)} is in the list of {splits[name]!r} too"
                    rows.oddities.append(Oddity(f"{file}: line {number}", problem, split))
    return splits


def _lines(path: Path) -> list[str]:
    return split_lines(read_text(path)) or [""]


def _first_line(path: Path) -> str:
    """The start of the first line, "" for a file of another suffix; never raises."""
    if path.suffix.lower() not in SUFFIXES:
        return ""
    try:
        with path.open("rb") as stream:
            return stream.readline(2000).decode("utf-8-sig", "replace").rstrip("\r\n")
    except OSError:
        return ""


def _delimiter(header: str) -> str:
    """The separator of the columns; "" if the line is not a header of photos and captions."""
    for sign in ",|":
        names = [name.strip().strip('"').lower() for name in header.split(sign)]
        if 2 <= len(names) <= 3 and names[0] in IMAGE_COLUMNS and names[-1] in CAPTION_COLUMNS:
            return sign
    return ""


TOKENS = Format("flickr-tokens", "Flickr8k.token.txt or results_20130124.token", fits_tokens, read_tokens)
TABLE = Format(
    "caption-table", "captions.txt or results.csv: a line for each caption, a header", fits_table, read_table
)

"""Reads the TSV files of the original GIT code: images as base64 text, and their captions or questions, by key."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from picscribe.datasets.columns import Columns, find_columns
from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example, FileSlice
from picscribe.datasets.folder_tree import split_of_name
from picscribe.datasets.formats.format import Format
from picscribe.datasets.formats.tsv_images import read_images
from picscribe.datasets.json_files import as_object
from picscribe.datasets.rows import Rows
from picscribe.datasets.values import identity, kind_of, shown
from picscribe.errors import InputError
from picscribe.media.folders import is_hidden
from picscribe.text_files import BYTE_ORDER_MARK, decode_text, parse_json

LONGEST_ROW = 16 << 20
"""Bytes of a row of captions or questions: one longer holds something else."""

_ROW_OF_TEXTS = re.compile(rb"[^\t\n]{1,500}\t\s*\[")
_ROW_OF_IMAGE = re.compile(rb"[^\t\n]{1,500}\t[A-Za-z0-9+/]{32}")


def fits(path: Path) -> bool:
    """Whether it is a TSV of images or of texts, or a folder that holds a pair of them."""
    if path.is_dir():
        return bool(_pairs_in(path))
    return path.suffix.lower() == ".tsv" and _kind(path) is not None


def read(path: Path, images: Path | None) -> Dataset:
    """The captions or questions of a TSV with their images, or of all pairs in a folder.

    The form is that of github.com/microsoft/GenerativeImage2Text: a row is a key, a tab, and the image's file as base64
    or a JSON list of {"caption"} or of {"question_id", "question", "answers"}. Captions and images belong together by
    name, test.caption.tsv to test.img.tsv or test.tsv; `images` may name the TSV of images, or the folder it is in. The
    split is the name's (train, val, test). An id is the key, or the question_id. Images stay in their file. A key that
    is in one of the two only is an oddity.
    """
    pairs = _pairs(path, images)
    columns = {texts: _columns(texts) for texts, _ in pairs}
    tasks = {found.task for found in columns.values()}
    if len(tasks) > 1:
        raise InputError(f"{path}: has TSVs of {' and of '.join(sorted(tasks))}: name one file")
    rows = Rows()
    for texts, image_file in pairs:
        _read_pair(texts, image_file, columns[texts], rows)
    return rows.dataset(path, TSV.name, tasks.pop())


def _read_pair(texts: Path, image_file: Path, columns: Columns, rows: Rows) -> None:
    split = split_of_name(texts.name)
    slices: dict[str, FileSlice] = {}
    for where, slice in read_images(image_file):
        with rows.reading(where, split):
            if isinstance(slice, InputError):
                raise slice
            if slice.name in slices:
                raise InputError(f"the key {shown(slice.name)} is there twice: remove one")
            slices[slice.name] = slice
    without_texts = dict.fromkeys(slices)
    for number, line in _lines(texts):
        where = f"{texts}: line {number}"
        with rows.reading(where, split):
            key, entries = _row(line)
            if key not in slices:
                raise InputError(f"the key {shown(key)} is not in {image_file.name}: add the image, or remove the row")
            without_texts.pop(key, None)
            if columns.task == "captions":
                captions = columns.texts_of({columns.texts: entries}, {})
                rows.add(Example(key, slices[key], captions, split=split, where=where))
                continue
            for index, entry in enumerate(entries):
                with rows.reading(f"{where} [{index}]", split):
                    asked = as_object(entry)
                    name = columns.id_of(asked, f"{key}#{index}")
                    answers, question = columns.texts_of(asked, {}), columns.question_of(asked)
                    rows.add(Example(name, slices[key], answers, question, split, f"{where} [{index}]"))
    for key in without_texts:
        with rows.reading(str(slices[key]), split):
            raise InputError(f"has no row in {texts.name}: add one, or remove the image")


def _row(line: bytes) -> tuple[str, list[Any]]:
    key, tab, cell = line.partition(b"\t")
    if not tab:
        raise InputError(f"has no tab: expected a key, a tab and a JSON list, found {line[:40]!r}")
    name, entries = decode_text(key, "the key").strip(), parse_json(cell, "its second column")
    if not isinstance(entries, list):
        raise InputError(f"its second column must be a JSON list, found {kind_of(entries)}")
    return identity(name, "the key"), entries


def _lines(texts: Path) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank with its number from 1, without byte order mark."""
    try:
        with texts.open("rb") as stream:
            number = 0
            while line := stream.readline(LONGEST_ROW + 1):
                number += 1
                if len(line) > LONGEST_ROW:
                    raise InputError(
                        f"{texts}: line {number} is over {LONGEST_ROW >> 20} MiB long, too long for a row of texts: "
                        "name another file"
                    )
                if line.strip():
                    yield number, line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
    except OSError as error:
        raise InputError(f"{texts}: cannot be read ({error.strerror or error})") from error


def _columns(texts: Path) -> Columns:
    """What the entries of a TSV of texts hold, by the first row that has any."""
    for number, line in _lines(texts):
        try:
            _, entries = _row(line)
        except InputError:
            continue
        if entries and isinstance(entries[0], dict):
            return find_columns(entries[0], f"{texts}: line {number}")
    raise InputError(f'{texts}: no row holds a JSON list of objects such as [{{"caption": "…"}}]')


def _pairs(path: Path, images: Path | None) -> list[tuple[Path, Path]]:
    """TSVs of texts and of the images they are about. Raises InputError where one lacks the other."""
    if path.is_dir():
        if pairs := _pairs_in(path):
            return pairs
        raise InputError(f"{path}: has no pair of TSVs such as test.img.tsv and test.caption.tsv: add the missing file")
    if _kind(path) == "image":
        pairs = [(texts, image) for texts, image in _pairs_in(path.parent) if image == path]
        if len(pairs) == 1:
            return pairs
        problem = (
            "name that of texts" if pairs else "none of texts belongs to it, such as test.caption.tsv to test.img.tsv"
        )
        raise InputError(f"{path}: is a TSV of images; {problem}")
    if images is not None and images.is_file():
        return [(path, images)]
    if image := _partner(path, images or path.parent):
        return [(path, image)]
    wanted = " or ".join(_partner_names(path))
    raise InputError(
        f"{path}: there is no TSV of its images ({wanted}) in {images or path.parent}: name it with --images (images=)"
    )


def _pairs_in(folder: Path) -> list[tuple[Path, Path]]:
    found = [file for file in sorted(folder.glob("*.tsv")) if not is_hidden(file.name) and _kind(file) == "texts"]
    return [(texts, image) for texts in found if (image := _partner(texts, folder))]


def _partner(texts: Path, folder: Path) -> Path | None:
    candidates = [folder / name for name in _partner_names(texts)]
    return next((file for file in candidates if file != texts and file.is_file()), None)


def _partner_names(texts: Path) -> list[str]:
    stem = texts.name.removesuffix(".tsv")
    base = stem.rpartition(".")[0] or stem
    return [f"{base}.img.tsv", f"{base}.tsv"]


def _kind(path: Path) -> Literal["image", "texts"] | None:
    """What a TSV holds by its first row; never raises."""
    try:
        with path.open("rb") as stream:
            start = stream.read(1024).removeprefix(BYTE_ORDER_MARK)
    except OSError:
        return None
    if _ROW_OF_TEXTS.match(start):
        return "texts"
    return "image" if _ROW_OF_IMAGE.match(start) else None


TSV = Format("tsv", "the original GIT code's TSVs: test.img.tsv with test.caption.tsv or questions", fits, read)

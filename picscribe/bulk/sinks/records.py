"""One row as outputs of rows have it: path, what was found, and the columns that came with the entry."""

import base64
import json
import os
from collections.abc import Mapping
from typing import Any

from picscribe.bulk.entries import Row, printable
from picscribe.bulk.work import Work

ORIGINAL = "original_"
"""Stands before the name of a column of the input that has the name of one of ours: nothing of it is lost."""

COLUMNS = {
    "caption": ("caption", "score", "confidence", "captions"),
    "ask": ("answer", "answers"),
    "classify": ("label", "confidence", "labels"),
    "score": ("scores",),
}
"""The columns of a table, by kind of work; those that are no text and no number are JSON."""

NUMBERS = ("score", "confidence")


def record_of(row: Row, path: str | None = None, name: str = "path") -> dict[str, Any]:
    """A row as an object of JSON; `path` under another name for a kind of output that has its own."""
    assert row.value is not None
    path = row.entry.path if path is None else path
    ours: dict[str, Any] = {name: printable(path)}
    if printable(path) != path:
        ours["path_base64"] = base64.b64encode(os.fsencode(path)).decode()
    ours |= row.value
    theirs = {(ORIGINAL + key if key in ours else key): value for key, value in row.entry.fields.items()}
    return {**ours, **theirs}


def line_of(record: Mapping[str, Any]) -> bytes:
    """An object as a line of JSON Lines."""
    # A lone half of a surrogate pair, which JSON can name, has no UTF-8.
    return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def columns_of(work: Work) -> tuple[str, ...]:
    """The columns of a table of this work."""
    return ("path", *COLUMNS[work.kind], "fields")


def cells_of(row: Row, work: Work) -> dict[str, Any]:
    """A row as cells of a table: texts, numbers and None."""
    assert row.value is not None
    cells: dict[str, Any] = dict.fromkeys(columns_of(work))
    cells["path"] = printable(row.entry.path)
    for name in COLUMNS[work.kind]:
        value = row.text if name == "answer" else row.value.get(name)
        cells[name] = value if name in NUMBERS or value is None or isinstance(value, str) else _json(value)
    if row.entry.fields:
        cells["fields"] = _json(row.entry.fields)
    return {name: _encodable(value) if isinstance(value, str) else value for name, value in cells.items()}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()

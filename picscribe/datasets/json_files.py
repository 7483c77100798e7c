"""JSON annotation files: a cheap look at what one holds, and its keys, checked."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from picscribe.datasets.values import kind_of, shown
from picscribe.errors import InputError
from picscribe.text_files import BYTE_ORDER_MARK

SAMPLE = 1 << 16
"""Bytes read from each end of a file to know its form: annotation files may be hundreds of megabytes."""

_KEY = re.compile(rb'"([^"\\]{1,40})"\s*:')

Kind = TypeVar("Kind", list[Any], dict[str, Any])
Value = TypeVar("Value")


@dataclass(frozen=True)
class JsonSample:
    """Whether the document `is_list` (else an object), and keys at any depth near the file's two ends."""

    is_list: bool
    keys: frozenset[str]


def sample_json(path: Path) -> JsonSample | None:
    """What a .json file seems to hold, or None where it is something else; never raises, never reads it whole."""
    if path.suffix.lower() != ".json":
        return None
    try:
        with path.open("rb") as stream:
            head = stream.read(SAMPLE)
            stream.seek(max(len(head), stream.seek(0, 2) - SAMPLE))
            tail = stream.read(SAMPLE)
    except OSError:
        return None
    first = head.removeprefix(BYTE_ORDER_MARK).lstrip()[:1]
    if first not in (b"[", b"{"):
        return None
    keys = frozenset(key.decode("utf-8", "replace") for key in [*_KEY.findall(head), *_KEY.findall(tail)])
    return JsonSample(first == b"[", keys)


def top_list(document: dict[str, Any], key: str, path: Path) -> list[Any]:
    """The list under a key of the whole document. Raises InputError that names the file."""
    try:
        return field(document, key, list)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def as_object(value: object, name: str = "") -> dict[str, Any]:
    """The value, which must be a JSON object; InputError begins with `name`."""
    if not isinstance(value, dict):
        raise InputError(f"{name} must be an object, found {kind_of(value)}".lstrip())
    return value


def value_of(entry: dict[str, Any], key: str, owner: str = "") -> Any:
    """The value under a key. Raises InputError that lists the keys there are."""
    if key not in entry:
        keys = [shown(known) for known in entry]
        listed = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
        raise InputError(f"{owner} lacks the key {key!r}; it has {listed or 'none'}".lstrip())
    return entry[key]


def field(entry: dict[str, Any], key: str, kind: type[Kind], owner: str = "") -> Kind:
    """The list or object under a key. Raises InputError where it is missing or of another kind."""
    value = value_of(entry, key, owner)
    if not isinstance(value, kind):
        expected = "a list" if kind is list else "an object"
        raise InputError(f"{key} must be {expected}, found {kind_of(value)}")
    return value


def usable(entries: Iterable[Any], read: Callable[[dict[str, Any]], Value]) -> Iterator[Value]:
    """What `read` makes of each entry, without those of which it makes an InputError: a look ahead, before the rows."""
    for entry in entries:
        with suppress(InputError):
            yield read(as_object(entry))


def split_of(entry: object, key: str = "split") -> str:
    """The split that an entry names, "" where it names none or is broken: for the oddity that it may become."""
    split = entry.get(key, "") if isinstance(entry, dict) else ""
    return split if isinstance(split, str) else ""

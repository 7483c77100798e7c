"""What a job is made of: entries, each one photo or video with what is asked about it, and their results."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from picscribe.bulk.failures import Failure

ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
"""How an address of the network or of fsspec begins; one letter would be a drive of Windows."""

JOB = ".picscribe"
"""Ends the name of the folder that holds a job's journal."""


def is_address(text: str) -> bool:
    """Whether it is an address (https://…, s3://…) and not a path."""
    return bool(ADDRESS.match(text))


def printable(text: str) -> str:
    """A name as UTF-8 can write it: bytes of a file name that are none come out as \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def digest_of(*parts: bytes) -> bytes:
    """16 bytes that tell these parts from any others."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


@dataclass(frozen=True)
class Entry:
    """One photo or video of a job. Names are texts as `os.fsdecode` gives them, so that any file name survives.

    source: an absolute path or an address.
    name: what it is called within its input, with "/" between folders; outputs are named after it.
    path: how the user named it, for people and for outputs that list paths.
    part: its place in its source: {"offset", "size"} in a tar, {"group", "row", "column"} in a table.
    asked: questions or texts of its own, of a list's column.
    fields: further columns of its row, kept for the outputs.
    number: its place in the journal, from 1 on; 0 before it is there.
    full: whether sidecars named after it keep its suffix.
    """

    source: str
    name: str
    path: str
    part: Mapping[str, Any] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    full: bool = False

    @cached_property
    def key(self) -> bytes:
        """What makes it this entry and no other: where it lies, and what is asked of it."""
        place = {name: value for name, value in self.part.items() if name != "members"}
        return digest_of(os.fsencode(self.source), json.dumps(place, sort_keys=True).encode(), self.asked_digest)

    @cached_property
    def asked_digest(self) -> bytes:
        """What is asked, in 16 bytes; empty where nothing of its own is."""
        return digest_of(*(text.encode("utf-8", "surrogatepass") for text in self.asked)) if self.asked else b""

    @property
    def remote(self) -> bool:
        """Whether its source is an address."""
        return is_address(self.source)

    @property
    def stem(self) -> bytes:
        """What entries share whose sidecars would have one name if they dropped the suffix."""
        folder, name = os.path.split(self.name)
        stem = os.path.splitext(name)[0]
        where = self.source if self.part else os.path.dirname(self.source)
        return digest_of(os.fsencode(where), os.fsencode(folder), os.fsencode(stem))

    @property
    def suffix(self) -> str:
        """The suffix of its name, such as ".jpg"."""
        return os.path.splitext(self.name)[1]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an entry: a result, or a failure.

    value: the result as JSON has it, None for a failure; see `work.Work`. digest: of the entry's content, b"" where it
    was never read. content: the bytes, where an output needs them and they cannot be read again cheaply.
    """

    entry: Entry
    value: Mapping[str, Any] | None
    digest: bytes = b""
    failure: Failure | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class Row:
    """One row of the outputs: an entry and its result (or its failure), under a number that grows by 1 a row."""

    number: int
    entry: Entry
    value: Mapping[str, Any] | None
    digest: bytes
    failure: Failure | None = None
    content: bytes | None = None

    @cached_property
    def text(self) -> str:
        """The result as a person would write it into a text file: a line a caption or answer; no end of line."""
        assert self.value is not None
        return "\n".join(texts_of(self.value))


def texts_of(value: Mapping[str, Any]) -> Sequence[str]:
    """The texts of a result: captions, answers, the label, or "confidence text" of given texts."""
    if "captions" in value:
        return [caption["caption"] for caption in value["captions"]]
    if "caption" in value:
        return [value["caption"]]
    if "answers" in value:
        return [one["answer"] for one in value["answers"] if "answer" in one]
    if "label" in value:
        return [value["label"]]
    return [f"{one['confidence']:.4f} {one['text']}" for one in value["scores"] if "confidence" in one]

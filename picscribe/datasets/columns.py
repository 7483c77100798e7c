"""Knows which columns of a table, or keys of a record, hold captions, a question and its answers, or a label."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from picscribe.datasets.dataset import Task
from picscribe.datasets.values import caption, identity, kind_of
from picscribe.errors import InputError

CAPTIONS = ("captions", "caption", "sentences", "sentence", "texts", "text", "descriptions", "description")
ANSWERS = ("answers", "answer", "multiple_choice_answer")
LABELS = ("label", "labels", "class", "class_name")
QUESTION_IDS = ("question_id", "id")
IMAGE_IDS = ("image_id", "id", "cocoid")

INNER = ("caption", "raw", "text", "answer")
"""Keys under which a list of captions or answers holds the text where its entries are objects."""


@dataclass(frozen=True)
class Columns:
    """Which column holds the texts, the question, the id and the split; "" for what the table does not have."""

    task: Task
    texts: str
    question: str = ""
    id: str = ""
    split: str = ""

    @property
    def used(self) -> list[str]:
        """The columns to read."""
        return [name for name in (self.texts, self.question, self.id, self.split) if name]

    def id_of(self, record: Mapping[str, Any], otherwise: str) -> str:
        """The record's id, `otherwise` where the table has no column for it. Raises InputError where it is broken."""
        return identity(_value(record, self.id), self.id) if self.id else otherwise

    def question_of(self, record: Mapping[str, Any]) -> str:
        """The question, "" where the task is another. Raises InputError where it is missing or empty."""
        return caption(_value(record, self.question), self.question) if self.question else ""

    def split_of(self, record: Mapping[str, Any], otherwise: str) -> str:
        """The split that the record names, `otherwise` where it names none."""
        named = record.get(self.split) if self.split else None
        return named.strip() if isinstance(named, str) and named.strip() else otherwise

    def texts_of(self, record: Mapping[str, Any], classes: Mapping[str, str]) -> tuple[str, ...]:
        """The captions, the answers (none where they are kept back) or the class name of a record.

        `classes` has the names of labels that are numbers or codes. Raises InputError where a text is missing.
        """
        if self.task == "labels":
            return (class_name(_value(record, self.texts), classes, self.texts),)
        if self.task == "questions":
            return () if not self.texts or record.get(self.texts) is None else _texts(record, self.texts)
        return _texts(record, self.texts)


def find_columns(names: Collection[str], where: str) -> Columns:
    """What a table with these columns holds: questions where it has them, else captions, else labels.

    Raises InputError where it has none of them.
    """
    split = _first(names, ("split",))
    if "question" in names:
        return Columns("questions", _first(names, ANSWERS), "question", _first(names, QUESTION_IDS), split)
    if texts := _first(names, CAPTIONS):
        return Columns("captions", texts, id=_first(names, IMAGE_IDS), split=split)
    if texts := _first(names, LABELS):
        return Columns("labels", texts, id=_first(names, IMAGE_IDS), split=split)
    listed = ", ".join(map(repr, sorted(names)[:12])) or "none"
    raise InputError(
        f"{where}: has no column of captions ({', '.join(CAPTIONS[1::2])}), 'question' or 'label': "
        f"rename one; it has {listed}"
    )


def captions_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The captions of a record, none where it has no key for them. Raises InputError where one is broken."""
    name = _first(record, CAPTIONS)
    return _texts(record, name) if name and record[name] is not None else ()


def class_name(label: object, classes: Mapping[str, str], name: str) -> str:
    """The words of a label: its entry in `classes`, or the label itself where it is words already.

    Raises InputError for a number that has no name: a model answers in words.
    """
    key = identity(label, name)
    if key in classes:
        return classes[key]
    if key.isdecimal():
        raise InputError(
            f'{name} is {key}, a number without a name: name it in labels.json, such as {{{key!r}: "cat"}}'
        )
    return key


def _first(names: Collection[str], wanted: Sequence[str]) -> str:
    return next((name for name in wanted if name in names), "")


def _value(record: Mapping[str, Any], name: str) -> Any:
    if record.get(name) is None:
        raise InputError(f"{name} is missing: fill it in, or remove the row")
    return record[name]


def _texts(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = _value(record, name)
    if isinstance(value, str):
        return (caption(value, name),)
    if not isinstance(value, list):
        raise InputError(f"{name} must be a text or a list of texts, found {kind_of(value)}")
    if not value:
        raise InputError(f"{name} is empty: give at least one text, or remove the row")
    return tuple(caption(_inner(entry), f"{name}[{k}]") for k, entry in enumerate(value))


def _inner(entry: object) -> object:
    """The text of an entry such as {"caption": …}; anything else as it is."""
    if isinstance(entry, dict) and (key := _first(entry, INNER)):
        return entry[key]
    return entry

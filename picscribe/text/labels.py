"""Names of classes as a checkpoint writes them: read, tokenised, and what is odd about them told, one sentence each."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from picscribe.errors import InputError
from picscribe.text.tokenizer import UNK, Tokenizer, quote
from picscribe.text.vocabulary import SPECIAL_TOKENS
from picscribe.text_files import read_text, split_lines


def read_labels(path: str | os.PathLike[str]) -> list[str]:
    """A label a line, UTF-8, blank lines included, so that label i is line i + 1.

    Raises InputError for a file that cannot be read, or that is not UTF-8.
    """
    text = read_text(Path(path))
    return split_lines(text.replace("\r\n", "\n").replace("\r", "\n"))


@dataclass(frozen=True)
class Labels:
    """Distinct labels: `names` as they were given, `tokens` of each without [SEP], its `places` among those given.

    `notes` tell, a sentence each, what was left out and why, and which labels hold words that the checkpoint cannot
    write.
    """

    names: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    places: tuple[int, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, tokenizer: Tokenizer, labels: Iterable[str], source: str = "labels") -> "Labels":
        """Labels as the tokenizer sees them: lower case, no accents; if several are then the same, the first stays.

        Left out, with a note: empty labels, those without a word that the vocabulary knows, and those with a special
        token such as [SEP]. `source` says in notes and errors where they come from.
        Raises InputError where none are left, and for what is no text.
        """
        if isinstance(labels, str):
            raise InputError(f"{source} must be a list of texts, not the text {quote(labels)}")
        given = list(labels)
        tokens = [tuple(ids) for ids in tokenizer.encode_batch(given)]
        first: dict[tuple[int, ...], int] = {}
        notes = []
        for place, (name, ids) in enumerate(zip(given, tokens, strict=True)):
            problem = _problem(tokenizer, ids)
            if problem is None and ids in first:
                before = first[ids]
                problem = f"means the same to the checkpoint as {before + 1}, {quote(given[before])}"
            if problem is not None:
                notes.append(f"{source}: {place + 1}, {quote(name)}, is left out: it {problem}")
                continue
            first[ids] = place
            if tokenizer.unk_id in ids:
                unknown = ", ".join(map(quote, tokenizer.unknown_words(name)))
                notes.append(
                    f"{source}: {place + 1}, {quote(name)}, has words that the checkpoint cannot write: {unknown}"
                )
        if not first:
            reasons = f": {notes[0]}" if notes else ""
            raise InputError(f"{source}: none of {len(given)} labels can be used: give at least one{reasons}")
        places = tuple(first.values())
        return cls(tuple(given[place].strip() for place in places), tuple(first), places, tuple(notes))


def _problem(tokenizer: Tokenizer, ids: Sequence[int]) -> str | None:
    """Why a label cannot be used, if so."""
    if not ids:
        return "is empty"
    words = [tokenizer.vocabulary[index] for index in ids]
    special = [word for word in words if word in SPECIAL_TOKENS and word != UNK]
    if special:
        return f"has the special token {special[0]}"
    if all(index == tokenizer.unk_id for index in ids):
        return "has no word that the checkpoint knows"
    return None

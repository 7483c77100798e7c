"""From a model's words to text as people write it: "a close-up of a cat's face", not "a close - up of a cat ' s face".

BERT's tokenizer splits at every punctuation mark, so how words and marks are spaced says nothing about the tokens: the
tokens of what is written here are those that it was written from.
"""

import unicodedata
from collections.abc import Sequence

ENDINGS = frozenset(("s", "t", "d", "m", "re", "ve", "ll", "clock"))
"""What follows an apostrophe within a word: cat's, don't, we'll, o'clock."""

LEANS_LEFT = frozenset(",.;:?!%)]}’”…")
LEANS_RIGHT = frozenset("([{$#“‘¿¡£€")
BETWEEN_NUMBERS = frozenset(".,:")


def write_words(words: Sequence[str]) -> str:
    """The words and punctuation marks of a text, spaced as people space them."""
    return _written(words, _joins(words)[0], len(words))


def write_settled_words(words: Sequence[str]) -> str:
    """What is written already of a text that goes on after `words`, and stays as it is whatever comes.

    Held back are a mark until the two words after it are known, and an apostrophe that may open a quotation until
    another one closes it.
    """
    joins, settled = _joins(words)
    return _written(words, joins, settled)


def is_mark(word: str) -> bool:
    """Whether a word is a punctuation mark or symbol."""
    return all(unicodedata.category(character)[0] in "PS" for character in word)


def _written(words: Sequence[str], joins: Sequence[bool], count: int) -> str:
    spaced = (word if not place or joins[place] else f" {word}" for place, word in enumerate(words[:count]))
    return "".join(spaced)


def _joins(words: Sequence[str]) -> tuple[list[bool], int]:
    """For each word whether it follows the one before it without a space, and how many words are settled."""
    joins, settled = [False] * (len(words) + 1), len(words)
    quoted: set[str] = set()
    for place, word in enumerate(words):
        if not is_mark(word):
            continue
        # Of an apostrophe among the last two it is not known whether it closes a quotation or stands within a word.
        may_open = word == "'" and word not in quoted and _is_loose(words, place)
        may_open = may_open and not _is_followed(words, place, len(words) - 2)
        before, after = _leans(words, place, quoted)
        joins[place] |= before
        joins[place + 1] |= after
        if place >= len(words) - 2 or (may_open and words[place - 1].endswith("s")):
            settled = min(settled, place)
    return joins, settled


def _leans(words: Sequence[str], place: int, quoted: set[str]) -> tuple[bool, bool]:
    """Whether a mark joins the word before it, and the one after it; `quoted` are the quotation marks that are open."""
    mark = words[place]
    before, after = (words[place - 1] if place else "", words[place + 1] if place + 1 < len(words) else "")
    inside = bool(before and after) and not is_mark(before) and not is_mark(after)
    if mark in "-/":
        return inside, inside
    if mark in BETWEEN_NUMBERS and before[-1:].isdigit() and after[:1].isdigit():
        return True, mark != "," or len(after) == 3
    if mark == "." and inside and len(before) == len(after) == 1 and words[place + 2 : place + 3] == ["."]:
        return True, True
    if mark in "'’" and not _is_loose(words, place):
        return True, True
    if mark in LEANS_RIGHT:
        return False, bool(after)
    if mark in LEANS_LEFT:
        return bool(before), False
    if mark == "&":
        return (inside and len(before) == len(after) == 1,) * 2
    if mark in "'\"":
        return _leans_as_quotation(words, place, quoted)
    return False, False


def _leans_as_quotation(words: Sequence[str], place: int, quoted: set[str]) -> tuple[bool, bool]:
    mark, before = words[place], words[place - 1] if place else ""
    if mark in quoted:
        quoted.remove(mark)
        return True, False
    measure = mark == '"' and before[-1:].isdigit()
    possessive = mark == "'" and before.endswith("s") and not _is_followed(words, place, len(words))
    if measure or possessive:
        return True, False
    quoted.add(mark)
    return False, place + 1 < len(words)


def _is_loose(words: Sequence[str], place: int) -> bool:
    """Whether this is an apostrophe that stands within no word."""
    if words[place] not in ("'", "’"):
        return False
    before, after = (words[place - 1] if place else "", words[place + 1] if place + 1 < len(words) else "")
    return not before or is_mark(before) or after not in ENDINGS


def _is_followed(words: Sequence[str], place: int, end: int) -> bool:
    """Whether another apostrophe of that kind comes later, before `end`."""
    return any(words[later] == "'" and _is_loose(words, later) for later in range(place + 1, end))

"""What a single value of an annotation file may be: a caption, an id, a file name; messages show it cut."""

from pathlib import PurePosixPath

from picscribe.errors import InputError

LONGEST_CAPTION = 5_000
"""Characters. COCO's longest caption has a few hundred; more than this is a file put together wrongly."""

LONGEST_ID = 500
"""Characters: longer than any file name."""


def caption(value: object, name: str) -> str:
    """The caption or question without the space around it; `name` says which value it is, for messages.

    Raises InputError unless it is a text with words in it, of at most LONGEST_CAPTION characters.
    """
    words = text(value, name).strip()
    if not words:
        raise InputError(f"{name} is empty: write some words, or remove the row")
    return words


def text(value: object, name: str) -> str:
    """The text as it stands, which may be empty. Raises InputError where it is none, is giant or is broken Unicode."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be a text, found {kind_of(value)}")
    if len(value) > LONGEST_CAPTION:
        raise InputError(
            f"{name} has {len(value):,} characters ({shown(value)}): shorten it to at most {LONGEST_CAPTION:,}"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{name} ({shown(value)}) has half of a character, which no file can store: write the text again"
        ) from None
    return value


def identity(value: object, name: str) -> str:
    """An id as a text; 1.0 is 1, as pandas writes numbers of a column in which some are missing.

    Raises InputError unless it is a whole number or a text of at most LONGEST_ID characters.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        found = f"the number {value}" if isinstance(value, float) else kind_of(value)
        raise InputError(f"{name} must be a whole number or a text, found {found}")
    if not isinstance(value, str):
        return str(value)
    if len(value) > LONGEST_ID:
        raise InputError(f"{name} has {len(value):,} characters ({shown(value)}): shorten it to at most {LONGEST_ID}")
    return caption(value, name)


def inside(value: object, name: str) -> PurePosixPath:
    """A relative path that stays inside the folder it is relative to, on every operating system.

    Raises InputError where it is no text, is empty, or could lead out.
    """
    path_text = text(value, name)
    path = PurePosixPath(path_text)
    outside = path.is_absolute() or ".." in path.parts or any(sign in path_text for sign in "\\:\0")
    if outside or not path.parts:
        raise InputError(f"{name} is {shown(value)}: name a file inside the folder of images, with / between folders")
    return path


def shown(value: object) -> str:
    """The value for a message, cut where it is long."""
    if isinstance(value, str):
        return repr(value[:60]) + ("…" if len(value) > 60 else "")
    return repr(value) if isinstance(value, int | float | None) else kind_of(value)


def kind_of(value: object) -> str:
    """What kind of JSON value it is, in words."""
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", type(None): "null"}
    names |= {bool: "true or false", bytes: "bytes"}
    return names.get(type(value), f"a {type(value).__name__}")

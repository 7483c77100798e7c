"""Brings predictions and references together by id, tokenised, so that each metric sees the same words."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from picscribe.errors import InputError
from picscribe.evaluation.ptb_tokenizer import tokenize

Words = tuple[str, ...]
Reader = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class CaptionPair:
    """The words of one prediction and of the references it is held against (at least one, each may be empty)."""

    prediction: Words
    references: tuple[Words, ...]


def split_tokens(caption: str) -> list[str]:
    """The PTB tokens, cut further at a no-break space inside one ("2 1/2"), as pycocoevalcap's BLEU and CIDEr do."""
    return [word for token in tokenize(caption) for word in token.split()]


def read_caption(caption: str, where: str, read: Reader = split_tokens) -> Words:
    """The caption's words; InputError that begins with `where` unless it is a text."""
    if not isinstance(caption, str):
        raise InputError(f"{where} must be a text, found {type(caption).__name__}")
    return tuple(read(caption))


def read_references(
    references: Mapping[str, Sequence[str]], read: Reader = split_tokens
) -> dict[str, tuple[Words, ...]]:
    """The words of every reference; InputError where there is nothing to compare with."""
    if not references:
        raise InputError("no references: at least one image with at least one reference caption is needed")
    by_id = {}
    for identity, captions in references.items():
        where = f"references of {identity!r}"
        if not isinstance(captions, list | tuple):
            raise InputError(f"{where} must be a list of texts, found {captions!r}")
        if not captions:
            raise InputError(f"{where}: none; every image needs at least one reference caption")
        by_id[identity] = tuple(read_caption(caption, where, read) for caption in captions)
    return by_id


def pair_captions(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], read: Reader = split_tokens
) -> dict[str, CaptionPair]:
    """Prediction and references of each id, in the order of `references`; `read` turns a raw caption into words.

    Raises InputError that names ids where the two do not hold the same ones: a score over part of a data set is not
    its score.
    """
    require_known(predictions, references)
    if missing := [identity for identity in references if identity not in predictions]:
        raise InputError(
            f"{len(missing)} of {len(references)} images have references but no prediction: {_some(missing)}"
        )
    return {
        identity: CaptionPair(read_caption(predictions[identity], f"prediction of {identity!r}", read), captions)
        for identity, captions in read_references(references, read).items()
    }


def require_known(predictions: Collection[str], references: Collection[str]) -> None:
    """InputError that names the predictions for which there are no references."""
    if extra := [identity for identity in predictions if identity not in references]:
        raise InputError(f"{len(extra)} of {len(predictions)} predictions have no references: {_some(extra)}")


def _some(identities: Iterable[str], shown: int = 5) -> str:
    names = [repr(identity) for identity in identities]
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")

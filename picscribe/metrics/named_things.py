"""Named things: of the photos whose references agree on a thing, the share whose caption names one of them.

CIDEr rewards whole phrases, so that it says little on how often a caption gets the main thing right. This does. The
references agree on a thing where three fifths of them name it: 3 of 5, 4 of 6, 2 of 3. A photo whose references agree
on nothing does not count.

What a thing is, things.txt says: some 1,300 nouns, chosen by hand. Singular and plural are the same, and so are other
spellings and short forms (bike and bicycle). The rest is strict: a man is no person, a puppy is no dog.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from picscribe.errors import InputError
from picscribe.metrics.metric import Metric
from picscribe.metrics.pairs import CaptionPairs, pair_captions
from picscribe.metrics.ptb_tokenizer import tokenize
from picscribe.text_files import split_lines

AGREEING = (3, 5)
"""So many of so many references must name a thing."""


def named_things(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> Metric:
    """The share of photos whose raw caption names a thing that their references agree on.

    Only photos whose references agree on something count; the others have nan in `per_item`. Raises InputError where
    there is no such photo, or where predictions and references do not hold the same ids.
    """
    metric = named_things_of_pairs(pair_captions(predictions, references))
    if metric is None:
        raise InputError("no photo has references that agree on a thing: give several references for each photo")
    return metric


def named_things_of_pairs(pairs: CaptionPairs) -> Metric | None:
    """`named_things` of captions that are tokenised already; None where no photo's references agree on a thing."""
    named = [
        float(not agreed.isdisjoint(_things(prediction))) if (agreed := _agreed(references)) else np.nan
        for prediction, references in zip(pairs.predictions, pairs.references, strict=True)
    ]
    counts = ~np.isnan(named)
    if not counts.any():
        return None
    right = np.where(counts, named, 0)
    whole = float(right.sum() / counts.sum())

    def statistic(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """A sample without a photo that counts tells nothing: it is taken to be like the whole."""
        number = drawn @ counts
        return np.divide(drawn @ right, number, out=np.full(len(drawn), whole), where=number > 0)

    return Metric(whole, dict(zip(pairs.ids, named, strict=True)), statistic)


def things_of(caption: str) -> set[str]:
    """The things that a raw caption names, each by its first name in things.txt: "two bikes" → {"bicycle"}."""
    return _things(tokenize(caption))


def agreed_things(references: Sequence[str]) -> set[str]:
    """The things that at least three fifths of the raw references name."""
    return _agreed([tokenize(reference) for reference in references])


def _agreed(references: Sequence[Sequence[str]]) -> set[str]:
    said = [_things(reference) for reference in references]
    some, of = AGREEING
    return {thing for thing in set().union(*said) if of * sum(thing in one for one in said) >= some * len(references)}


def _things(tokens: Iterable[str]) -> set[str]:
    """The things that a tokenised caption names; the longest name at a place counts."""
    things, longest = _lexicon()
    words = " ".join(tokens).replace("-", " ").split()
    found, place = set(), 0
    while place < len(words):
        length = longest.get(words[place], 0)
        while length and " ".join(words[place : place + length]) not in things:
            length -= 1
        if length:
            found.add(things[" ".join(words[place : place + length])])
        place += length or 1
    return found


@cache
def _lexicon() -> tuple[dict[str, str], dict[str, int]]:
    """The thing of each name, plurals included, and how many words the longest name has that begins with a word."""
    lines = split_lines(files("picscribe.metrics").joinpath("things.txt").read_text(encoding="utf-8"))
    groups = [group.split("=") for line in lines if not line.startswith("#") for group in line.split()]
    things: dict[str, str] = {}
    for group in groups:
        thing = _bare(group[0])
        for name in group:
            things[_bare(name)] = thing
            if not name.endswith("-"):
                things.setdefault(_plural(_bare(name)), thing)
    for name in [_bare(group[0]) for group in groups if len(group) == 1 and not group[0].startswith("!")]:
        last = name.rpartition(" ")[2]
        if last != name and last in things:
            things[name] = things[_plural(name)] = things[last]
    longest: dict[str, int] = {}
    for name in things:
        words = name.split(" ")
        longest[words[0]] = max(longest.get(words[0], 0), len(words))
    return things, longest


def _bare(name: str) -> str:
    return name.strip("!-").replace("_", " ")


def _plural(name: str) -> str:
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"

"""Numbers words and runs of words over a whole corpus at once, for the metrics that count them.

C captions are P predictions followed by the references of M images, image by image; N words in all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Tokens = tuple[str, ...]

LONGEST = 4
"""BLEU and CIDEr both look at runs of one to four words."""


@dataclass(frozen=True)
class NgramCounts:
    """How often each of G n-grams of one length occurs in each caption; E entries, by n-gram, then by caption.

    key: (G,) ascending; n-gram number of all words but the last, times the size of the vocabulary, plus the last word.
    ngram, caption, count: (E,).
    """

    key: Ints
    ngram: Ints
    caption: Ints
    count: Ints


class Matches(NamedTuple):
    """Pairs of entries of one n-gram, in a prediction and in a reference of the image it is held against: (X,) each."""

    predicted: Ints
    reference: Ints


class NumberedCaptions:
    """Captions as numbers, and what of their n-grams does not depend on which prediction goes with which image.

    vocabulary: the number of each word. lengths: (C,) words. image: (C - P,) image of each reference. references: (M,)
    how many an image has. ngrams: the counts of each length.
    """

    def __init__(self, predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> None:
        captions = [*predictions, *chain.from_iterable(references)]
        tokens = list(chain.from_iterable(captions))
        if any(len(token.split()) != 1 for token in set(tokens)):
            # A no-break space inside a token ("2 1/2") parts words for pycocoevalcap's BLEU and CIDEr.
            captions = [tuple(word for token in caption for word in token.split()) for caption in captions]
            tokens = list(chain.from_iterable(captions))
        self.vocabulary = {word: number for number, word in enumerate(dict.fromkeys(tokens))}
        self.predictions = len(predictions)
        self.lengths = _ints(map(len, captions), len(captions))
        self.references = _ints(map(len, references), len(references))
        self.image = np.repeat(np.arange(len(references)), self.references)
        words = _ints(map(self.vocabulary.__getitem__, tokens), len(tokens))
        self.ngrams = tuple(_count_ngrams(words, self.lengths, len(self.vocabulary)))

    @cached_property
    def document_counts(self) -> list[Ints]:
        """(G,) for each n-gram length: in how many images' references each n-gram occurs."""
        counts = []
        for part in self.ngrams:
            _, ngram, document = self._of_references(part)
            counts.append(np.bincount(ngram[_changes(document)], minlength=len(part.key)))
        return counts

    def match(self, images: Ints) -> list[Matches]:
        """What each prediction shares with each reference of its image, for each n-gram length; `images` is (P,)."""
        matches = []
        for part in self.ngrams:
            reference, _, document = self._of_references(part)
            predicted = np.flatnonzero(part.caption < self.predictions)
            wanted = part.ngram[predicted] * len(self.references) + images[part.caption[predicted]]
            first, end = np.searchsorted(document, wanted), np.searchsorted(document, wanted, side="right")
            many = end - first
            nth = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
            matches.append(Matches(np.repeat(predicted, many), reference[np.repeat(first, many) + nth]))
        return matches

    def _of_references(self, part: NgramCounts) -> tuple[Ints, Ints, Ints]:
        """The references' entries, the n-gram of each, and one number for n-gram and image together, ascending."""
        entries = np.flatnonzero(part.caption >= self.predictions)
        ngram, image = part.ngram[entries], self.image[part.caption[entries] - self.predictions]
        return entries, ngram, ngram * len(self.references) + image


def _count_ngrams(words: Ints, lengths: Ints, vocabulary: int) -> Iterator[NgramCounts]:
    """The n-grams of captions that follow each other in `words`; each length from the numbers of the one before it."""
    captions = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))
    start, number = np.arange(len(words)), np.zeros(len(words), np.int64)
    for length in range(1, LONGEST + 1):
        long_enough = left[start] >= length
        start, number = start[long_enough], number[long_enough]
        keys = number * vocabulary + words[start + length - 1]
        order = np.argsort(keys, kind="stable")
        keys, caption = keys[order], captions[start[order]]
        new = _changes(keys)
        first = np.flatnonzero(new | _changes(caption))
        ngram = np.cumsum(new) - 1
        number[order] = ngram
        yield NgramCounts(keys[new], ngram[first], caption[first], np.diff(first, append=len(keys)))


def _changes(values: Ints) -> NDArray[np.bool_]:
    """Where a value differs from the one before it; True for the first."""
    return np.concatenate([np.ones(min(1, len(values)), np.bool_), values[1:] != values[:-1]])


def _ints(values: Iterator[int], count: int) -> Ints:
    return np.fromiter(values, np.int64, count)

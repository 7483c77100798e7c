"""In how many images' references an n-gram occurs: what tells CIDEr a rare word from a common one."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from picscribe.errors import InputError
from picscribe.metrics.ngrams import LONGEST, Ints, NumberedCaptions, Tokens
from picscribe.metrics.pairs import read_references
from picscribe.text_files import read_json
from picscribe.whole_files import write_whole

MOST_DOCUMENTS = 2**53
"""Beyond it, whole numbers are no longer exact as floats."""


@dataclass(frozen=True, eq=False)
class DocumentFrequencies:
    """How many of `documents` hold each n-gram of one to four words; an image's references are one document.

    vocabulary: the number of each word. keys, counts: for each n-gram length, G n-grams, (G,) as in `NgramCounts.key`,
    and how many documents hold each, (G,).
    """

    documents: int
    vocabulary: Mapping[str, int]
    keys: tuple[Ints, ...]
    counts: tuple[Ints, ...]

    @classmethod
    def of_references(cls, references: Mapping[str, Sequence[str]]) -> "DocumentFrequencies":
        """Count over the raw reference captions of each image."""
        return cls.of_tokens(read_references(references).values())

    @classmethod
    def of_tokens(cls, documents: Collection[Sequence[Tokens]]) -> "DocumentFrequencies":
        """Count over references that are tokenised already."""
        captions = NumberedCaptions([], list(documents))
        keys = tuple(part.key for part in captions.ngrams)
        return cls(len(documents), captions.vocabulary, keys, tuple(captions.document_counts))

    @classmethod
    def of_counts(cls, documents: int, counts: Mapping[str, int]) -> "DocumentFrequencies":
        """What `by_ngram` gives; InputError where no captions could have given these counts."""
        return _from_texts(documents, counts)

    def find(self, captions: NumberedCaptions) -> list[Ints]:
        """(G,) for each length: how many documents hold each n-gram of `captions`; 0 for one that was not counted."""
        words = np.array([self.vocabulary.get(word, -1) for word in captions.vocabulary], np.int64)
        numbers, found = np.zeros(1, np.int64), []
        for part, keys, counts in zip(captions.ngrams, self.keys, self.counts, strict=True):
            before, last = np.divmod(part.key, max(1, len(words)))
            before, last = numbers[before], words[last]
            wanted = before * len(self.vocabulary) + last
            numbers = np.searchsorted(keys, wanted)
            known = (before >= 0) & (last >= 0) & (numbers < len(keys))
            known[known] = keys[numbers[known]] == wanted[known]
            numbers[~known] = -1
            found.append(np.where(known, np.append(counts, 0)[numbers], 0))
        return found

    def by_ngram(self) -> dict[str, int]:
        """{"a dog": 321, …}, sorted."""
        words, texts = list(self.vocabulary), [""]
        total: dict[str, int] = {}
        for keys, counts in zip(self.keys, self.counts, strict=True):
            before, last = np.divmod(keys, max(1, len(words)))
            texts = [f"{texts[b]} {words[w]}".lstrip(" ") for b, w in zip(before.tolist(), last.tolist(), strict=True)]
            total.update(zip(texts, counts.tolist(), strict=True))
        return dict(sorted(total.items()))

    def save(self, path: Path) -> None:
        """Write as JSON: {"documents": 1000, "counts": {"a dog": 321, …}}; InputError where it cannot be written."""
        content = {"documents": self.documents, "counts": self.by_ngram()}
        write_whole(path, json.dumps(content, ensure_ascii=False))

    @classmethod
    def load(cls, path: Path) -> "DocumentFrequencies":
        """Read what `save` wrote; InputError where the file is anything else."""
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("counts"), dict) or "documents" not in content:
            raise InputError(
                f"{path}: expected an object with 'documents' and 'counts', as DocumentFrequencies.save writes it"
            )
        try:
            return _from_texts(content["documents"], content["counts"])
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def inverse_frequencies(documents: int, counts: Sequence[Ints]) -> list[NDArray[np.float64]]:
    """log(documents / count), (G,) for each n-gram length; an n-gram that no document holds counts as if one did."""
    return [math.log(documents) - np.log(np.maximum(part, 1)) for part in counts]


def _from_texts(documents: int, counts: Mapping[str, int]) -> DocumentFrequencies:
    """What `DocumentFrequencies.by_ngram` came from; InputError where no captions could have given these counts."""
    if type(documents) is not int or not 1 <= documents <= MOST_DOCUMENTS:
        raise InputError(f"'documents' must be a whole number of at least 1, found {documents!r}")
    vocabulary = {word: number for number, word in enumerate(text for text in counts if " " not in text)}
    by_length: list[list[str]] = [[] for _ in range(LONGEST)]
    for text, count in counts.items():
        words, parts = text.split(" "), (text.rpartition(" ")[0], text.partition(" ")[2])
        if not all(words) or len(words) > LONGEST:
            raise InputError(f"{text!r} is counted; expected one to {LONGEST} words with a space between")
        if type(count) is not int or not 1 <= count <= documents:
            raise InputError(f"the count of {text!r} is {count!r}; expected 1 to {documents}, the number of documents")
        for part in filter(None, parts):
            if counts.get(part, 0) < count:
                raise InputError(
                    f"{text!r} is counted {count} times and {part!r}, a part of it, {counts.get(part, 0)} times; "
                    "the counts are not those of captions"
                )
        by_length[len(words) - 1].append(text)
    numbers, keys, values = {"": 0}, [], []
    for texts in by_length:
        split = (text.rpartition(" ") for text in texts)
        key = np.array([numbers[before] * len(vocabulary) + vocabulary[last] for before, _, last in split], np.int64)
        order = np.argsort(key)
        numbers = {texts[place]: number for number, place in enumerate(order.tolist())}
        keys.append(key[order])
        values.append(np.array([counts[text] for text in numbers], np.int64))
    return DocumentFrequencies(documents, vocabulary, tuple(keys), tuple(values))

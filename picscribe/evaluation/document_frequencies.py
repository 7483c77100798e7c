"""In how many images' references an n-gram occurs: what tells CIDEr a rare word from a common one."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from picscribe.errors import InputError
from picscribe.evaluation.caption_pairs import read_references
from picscribe.evaluation.ngrams import LONGEST, Ngram, count_ngrams


@dataclass(frozen=True)
class DocumentFrequencies:
    """`counts` of n-grams of one to four words over `documents` images; an image's references are one document."""

    documents: int
    counts: Mapping[Ngram, int]

    def __post_init__(self) -> None:
        if type(self.documents) is not int or self.documents < 1:
            raise InputError(f"'documents' must be a whole number of at least 1, found {self.documents!r}")
        for ngram, count in self.counts.items():
            if type(count) is not int or not 1 <= count <= self.documents or not 1 <= len(ngram) <= LONGEST:
                raise InputError(
                    f"the count of {' '.join(ngram)!r} is {count!r}; "
                    f"expected one to {LONGEST} words and a count of 1 to {self.documents}"
                )

    @classmethod
    def of_references(cls, references: Mapping[str, Sequence[str]]) -> "DocumentFrequencies":
        """Count over the raw reference captions of each image."""
        return cls.of_words(read_references(references).values())

    @classmethod
    def of_words(cls, documents: Iterable[Sequence[Sequence[str]]]) -> "DocumentFrequencies":
        """Count over references that are tokenised already."""
        counts: Counter[Ngram] = Counter()
        total = 0
        for captions in documents:
            total += 1
            counts.update(
                {ngram for words in captions for n in range(1, LONGEST + 1) for ngram in count_ngrams(words, n)}
            )
        return cls(total, dict(counts))

    def weights(self) -> dict[Ngram, float]:
        """The inverse document frequency of each n-gram counted, log(documents / count)."""
        return {ngram: self.unseen_weight - math.log(count) for ngram, count in self.counts.items()}

    @property
    def unseen_weight(self) -> float:
        """The inverse document frequency of an n-gram that no reference holds; it counts as if one did."""
        return math.log(self.documents)

    def save(self, path: Path) -> None:
        """Write as JSON: {"documents": 1000, "counts": {"a dog": 321, …}}."""
        counts = {" ".join(ngram): count for ngram, count in sorted(self.counts.items())}
        path.write_text(
            json.dumps({"documents": self.documents, "counts": counts}, ensure_ascii=False), encoding="utf-8"
        )

    @classmethod
    def load(cls, path: Path) -> "DocumentFrequencies":
        """Read what `save` wrote; InputError where the file is anything else."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: is not a JSON file of document frequencies ({error})") from error
        if not isinstance(content, dict) or not isinstance(content.get("counts"), dict) or "documents" not in content:
            raise InputError(
                f"{path}: expected an object with 'documents' and 'counts', as DocumentFrequencies.save writes it"
            )
        try:
            return cls(content["documents"], {tuple(key.split(" ")): n for key, n in content["counts"].items()})
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

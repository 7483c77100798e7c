"""Accuracy of classification by generating the class's name, as the GIT paper reads it (arXiv 2205.14100).

"equal": the text generated, free of any list, is the class's name. "in": it contains the name. "top-1": the model chose
from the list of classes (the paper's "voc-prior"), and chose right.

As in the paper spaces do not count ("ice cream" is "icecream", and "man - eater", as WordPiece writes it, is
"man-eater"), nor does case, because the vocabulary has none. The paper gave each ImageNet class one unique name. Where
a class is written with its synonyms ("tench, Tinca tinca") any of them counts for "equal" and "in", which is more
lenient than the paper. "in" looks for the letters, not for whole words: "kitchen" contains "hen".
"""

import re
from collections.abc import Callable, Mapping, Sequence

from picscribe.errors import ConfigurationError, InputError
from picscribe.metrics.metric import Metric, mean_metric
from picscribe.metrics.pairs import pair_answers

_AROUND_SIGNS = re.compile(r"\s*([^\w\s])\s*")


def top_k(ranked: Mapping[str, Sequence[str]], labels: Mapping[str, Sequence[str]], k: int) -> Metric:
    """The share of images whose label is among the first `k` of the classes ranked for it, the best first.

    `ranked` holds names from the list of classes, as it writes them; a ranking shorter than `k` is used whole, an empty
    one is wrong. `labels`: the image's class; any where several are right. Raises InputError where the ids differ or a
    label is empty, ConfigurationError for a `k` below 1.
    """
    if type(k) is not int or k < 1:
        raise ConfigurationError(f"k must be a whole number of at least 1, found {k!r}")
    for identity, names in ranked.items():
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise InputError(f"ranking of {identity!r} must be a list of class names, found {names!r}")
    first = {identity: [_joined(name) for name in names[:k]] for identity, names in ranked.items()}
    return _share(dict.fromkeys(ranked, ""), labels, lambda identity, _, label: _joined(label) in first[identity])


def equal_class(predictions: Mapping[str, str], labels: Mapping[str, Sequence[str]]) -> Metric:
    """The share of images whose prediction is a name of the class; errors as in `top_k`."""
    return _share(predictions, labels, lambda _, prediction, label: _is_class(prediction, label))


def contains_class(predictions: Mapping[str, str], labels: Mapping[str, Sequence[str]]) -> Metric:
    """The share of images whose prediction contains a name of the class; errors as in `top_k`."""
    return _share(
        predictions,
        labels,
        lambda _, prediction, label: (
            _is_class(prediction, label) or any(_spaced(name) in _spaced(prediction) for name in _names(label))
        ),
    )


def _share(
    predictions: Mapping[str, str],
    labels: Mapping[str, Sequence[str]],
    right: Callable[[str, str, str], bool],
) -> Metric:
    per_item = {}
    for identity, pair in pair_answers(predictions, labels).items():
        if not all(_joined(label) for label in pair.answers):
            raise InputError(f"answers of {identity!r}: an empty class name in {list(pair.answers)!r}")
        per_item[identity] = float(any(right(identity, pair.prediction, label) for label in pair.answers))
    return mean_metric(per_item)


def _is_class(prediction: str, label: str) -> bool:
    return _joined(prediction) in {_joined(name) for name in _names(label)}


def _names(label: str) -> list[str]:
    """The label as it is written and each synonym in it."""
    return [label, *(name for name in label.split(",") if name.strip())]


def _joined(text: str) -> str:
    return "".join(text.lower().split())


def _spaced(text: str) -> str:
    """Lower case, one space between words, none next to a sign: spaces may differ, but words do not run together."""
    return " ".join(_AROUND_SIGNS.sub(r"\1", text.lower()).split())

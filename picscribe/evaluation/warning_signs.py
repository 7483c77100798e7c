"""What in an evaluation tells of a broken model or a broken data set, in plain words."""

from collections import Counter
from collections.abc import Mapping, Sequence

from picscribe.evaluation.results import Item

SHUFFLED = " shuffled"
"""Ends the name of the score that a metric gives when the predictions are handed to other images."""

FEWEST = 20
"""Examples; among fewer, the same prediction twice means nothing."""


ALONE = (
    "CIDEr of a single image is 0, whatever was said: no word tells it from other images. Score more images at once, "
    "or give the document frequencies of a corpus (score-captions --document-frequencies)."
)


def warning_signs(scores: Mapping[str, float], items: Sequence[Item]) -> list[str]:
    """A sentence for each thing that is probably wrong; none where nothing stands out."""
    found = [*(_shuffled(scores) if len(items) != 1 else _alone(scores)), *_repeated(scores, items)]
    if failed := sum(1 for item in items if item.error):
        found.append(f"{failed:,} of {len(items):,} examples could not be used and count as an empty prediction.")
    if empty := sum(1 for item in items if not item.error and not item.prediction.strip()):
        found.append(f"{empty:,} of {len(items):,} predictions are empty.")
    return found


def _alone(scores: Mapping[str, float]) -> list[str]:
    if "CIDEr" not in scores:
        return []
    return [ALONE]


def _shuffled(scores: Mapping[str, float]) -> list[str]:
    found = []
    for name, shuffled in scores.items():
        metric = name.removesuffix(SHUFFLED)
        if metric == name or metric not in scores:
            continue
        true = scores[metric]
        if true <= 0:
            found.append(f"{metric} is 0: nothing that was said is said in the references.")
        elif shuffled >= true / 2:
            found.append(
                f"With the predictions handed to other images {metric} is still {shuffled:.4f}, {shuffled / true:.0%} "
                f"of {true:.4f}: the model hardly looks at its images, or images and references do not belong together."
            )
    return found


def _repeated(scores: Mapping[str, float], items: Sequence[Item]) -> list[str]:
    if len(items) < FEWEST:
        return []
    found = []
    if scores.get("distinct", 1) < 0.1:
        found.append(f"Only {scores['distinct']:.1%} of the predictions are different from each other.")
    said, count = most_frequent(items, 1)[0] if most_frequent(items, 1) else ("", 0)
    expected = sum(1 for item in items if said.casefold() in map(str.casefold, item.references))
    if count >= max(len(items) / 20, 2 * expected + 1):
        found.append(
            f"“{said}” is said of {count / len(items):.1%} of the images, and is a reference of {expected:,} of them."
        )
    return found


def most_frequent(items: Sequence[Item], most: int) -> list[tuple[str, int]]:
    """The predictions that come more than once and how often, the most frequent first."""
    counts = Counter(item.prediction for item in items if not item.error)
    return [(said, count) for said, count in counts.most_common(most) if count > 1]

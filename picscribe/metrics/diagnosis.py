"""What tells a model that ignores its images from one that sees them, where the scores alone do not."""

import numpy as np

from picscribe.metrics.cider import Similarity
from picscribe.metrics.document_frequencies import DocumentFrequencies
from picscribe.metrics.pairs import CaptionPairs

SHUFFLES = 5


def distinct_share(pairs: CaptionPairs) -> float:
    """How many different captions there are an image: 1 where none comes twice, near 0 where all say the same.

    Captions are the same where their words are; case, punctuation and spaces make no difference.
    """
    return len(set(pairs.predictions)) / len(pairs.ids)


def vocabulary_share(pairs: CaptionPairs) -> float:
    """Of the different words in all references, the share that comes in a prediction of any image (1 of no words).

    Words of predictions that no reference holds do not count. It grows with the number of images and of references,
    so that it compares models on one data set, never data sets.
    """
    known = {word for references in pairs.references for caption in references for word in caption}
    said = {word for caption in pairs.predictions for word in caption}
    return len(known & said) / len(known) if known else 1.0


def shuffled_cider(
    pairs: CaptionPairs, document_frequencies: DocumentFrequencies | None = None, seed: int = 0
) -> float:
    """CIDEr with each caption held against another image: the mean of five ways to shuffle them.

    No caption stays with its image. A model that looks at its images scores far below its CIDEr; one that says what
    fits any image scores the same. With one image it is 0, as CIDEr is.
    """
    similarity = Similarity(pairs.numbered, document_frequencies)
    draw = np.random.default_rng(seed)
    scores = []
    for _ in range(SHUFFLES):
        # Each image takes the caption of the one before it on a round through all of them.
        circle = draw.permutation(len(pairs.ids))
        images = np.empty_like(circle)
        images[circle] = np.roll(circle, -1)
        scores.append(similarity.scores(images, pairs.numbered.match(images)).mean())
    return float(np.mean(scores))

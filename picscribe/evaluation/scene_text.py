"""Accuracy of reading the word in a photo, as the field counts it: only letters and digits, whatever their case.

The convention of scene-text recognition (Baek et al., ICCV 2019): both sides are lower-cased and everything but the
36 signs a–z and 0–9 is dropped. Beyond English that would drop whole words; here every letter, digit and combining mark
of any script stays, after Unicode's compatibility composition (NFKC) and case folding, so that "CAFÉ", "café"
(composed or not) and full-width "ＣＡＦÉ" are one word, and "café" and "cafe" are two. Over the 36 signs both say the
same.
"""

import unicodedata
from collections.abc import Mapping, Sequence

from picscribe.errors import InputError
from picscribe.evaluation.answer_pairs import pair_answers
from picscribe.evaluation.metric import Metric, mean_metric


def scene_text_accuracy(predictions: Mapping[str, str], words: Mapping[str, Sequence[str]]) -> Metric:
    """The share of photos whose prediction is the word in it; any of them where several are accepted.

    An empty prediction is wrong. Raises InputError where the ids differ or no accepted word has a letter or digit.
    """
    pairs = pair_answers(predictions, words)
    per_item = {}
    for identity, pair in pairs.items():
        accepted = {bare for word in pair.answers if (bare := bare_word(word))}
        if not accepted:
            raise InputError(f"answers of {identity!r}: no letter and no digit in {list(pair.answers)!r}")
        per_item[identity] = float(bare_word(pair.prediction) in accepted)
    return mean_metric(per_item)


def bare_word(text: str) -> str:
    """The letters, digits and marks alone, case-folded: "Don't-Stop!" → "dontstop"."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(sign for sign in folded if unicodedata.category(sign)[0] in "LNM")
    return unicodedata.normalize("NFKC", kept)

"""Accuracies that count an answer as right where it is the annotator's text: word for word, or letter for letter.

Exact match is the accuracy of question answering on videos. MSVD-QA and MSRVTT-QA (Xu et al., ACM MM 2017) have one
answer a question, as a rule one lower-case word, and count a prediction that is the same text. Here case and the spaces
at the ends do not count. Articles and punctuation do, unlike in VQA accuracy.

Scene text is the word in a photo. Scene-text recognition (Baek et al., ICCV 2019) lower-cases both sides and drops
everything but the 36 signs a–z and 0–9. Beyond English that would drop whole words, so here every letter, digit and
combining mark of any script stays, after Unicode's compatibility composition (NFKC) and case folding: "CAFÉ", "café"
(composed or not) and full-width "ＣＡＦÉ" are one word, "café" and "cafe" are two. Over the 36 signs both rules agree.
"""

import unicodedata
from collections.abc import Mapping, Sequence

from picscribe.errors import InputError
from picscribe.metrics.metric import Metric, mean_metric
from picscribe.metrics.pairs import pair_answers


def exact_match(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]]) -> Metric:
    """The share of questions whose prediction equals an answer; any of them where there are several.

    An empty prediction is wrong. Raises InputError where predictions and answers do not hold the same ids.
    """
    pairs = pair_answers(predictions, answers).items()
    return mean_metric({identity: _match(pair.prediction, pair.answers) for identity, pair in pairs})


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


def _match(prediction: str, answers: Sequence[str]) -> float:
    found = _plain(prediction)
    return float(found != "" and any(found == _plain(answer) for answer in answers))


def _plain(text: str) -> str:
    return text.strip().lower()

"""Exact match, the accuracy of question answering on videos: the answer is the annotator's, word for word.

MSVD-QA and MSRVTT-QA (Xu et al., ACM MM 2017) have one answer a question, one lower-case word as a rule, and count a
prediction that is the same text. Case and the spaces at the ends are not held against a prediction here; articles and
punctuation are, other than in VQA accuracy.
"""

from collections.abc import Mapping, Sequence

from picscribe.evaluation.answer_pairs import pair_answers
from picscribe.evaluation.metric import Metric, mean_metric


def exact_match(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]]) -> Metric:
    """The share of questions whose prediction equals an answer; any of them where there are several.

    An empty prediction is wrong. Raises InputError where predictions and answers do not hold the same ids.
    """
    pairs = pair_answers(predictions, answers).items()
    return mean_metric({identity: _match(pair.prediction, pair.answers) for identity, pair in pairs})


def _match(prediction: str, answers: Sequence[str]) -> float:
    found = _plain(prediction)
    return float(found != "" and any(found == _plain(answer) for answer in answers))


def _plain(text: str) -> str:
    return text.strip().lower()

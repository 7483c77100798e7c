"""Metrics of captions, answers and class names, each usable on its own: raw strings in, the published numbers out.

None needs torch. METEOR and SPICE alone need Java. `score_captions` and `score_answers` give all scores of a kind in
one call.
"""

from picscribe.metrics.bleu import BleuScores, bleu
from picscribe.metrics.bootstrap import PairedDifference, Resampling, compare_paired, intervals
from picscribe.metrics.calibration import Confident, calibrate
from picscribe.metrics.cider import CiderScorer, CiderScores, cider, plain_cider
from picscribe.metrics.classification import contains_class, equal_class, top_k
from picscribe.metrics.document_frequencies import DocumentFrequencies
from picscribe.metrics.exact_match import exact_match, scene_text_accuracy
from picscribe.metrics.java_metrics import meteor, spice
from picscribe.metrics.metric import Metric
from picscribe.metrics.named_things import agreed_things, named_things, things_of
from picscribe.metrics.ptb_tokenizer import tokenize
from picscribe.metrics.rouge import RougeScores, rouge_l
from picscribe.metrics.scores import AnswerMetric, score_answers, score_captions
from picscribe.metrics.vqa_accuracy import normalize_answer, vqa_accuracy

__all__ = [
    "AnswerMetric",
    "BleuScores",
    "CiderScorer",
    "CiderScores",
    "Confident",
    "DocumentFrequencies",
    "Metric",
    "PairedDifference",
    "Resampling",
    "RougeScores",
    "agreed_things",
    "bleu",
    "calibrate",
    "cider",
    "compare_paired",
    "contains_class",
    "equal_class",
    "exact_match",
    "intervals",
    "meteor",
    "named_things",
    "normalize_answer",
    "plain_cider",
    "rouge_l",
    "scene_text_accuracy",
    "score_answers",
    "score_captions",
    "spice",
    "things_of",
    "tokenize",
    "top_k",
    "vqa_accuracy",
]

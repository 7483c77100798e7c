"""Metrics of captions, answers and class names, each usable on its own: raw strings in, the published numbers out.

None needs torch. METEOR and SPICE alone need Java. `score_captions` and `score_answers` give all scores of a kind in
one call.
"""

from picscribe.evaluation.answer_scores import AnswerMetric, score_answers
from picscribe.evaluation.bleu import BleuScores, bleu
from picscribe.evaluation.bootstrap import PairedDifference, Resampling, compare_paired, intervals
from picscribe.evaluation.caption_scores import score_captions
from picscribe.evaluation.cider import CiderScorer, CiderScores, cider, plain_cider
from picscribe.evaluation.classification import contains_class, equal_class, top_k
from picscribe.evaluation.document_frequencies import DocumentFrequencies
from picscribe.evaluation.exact_match import exact_match
from picscribe.evaluation.java_metrics import meteor, spice
from picscribe.evaluation.metric import Metric
from picscribe.evaluation.ptb_tokenizer import tokenize
from picscribe.evaluation.rouge import RougeScores, rouge_l
from picscribe.evaluation.scene_text import scene_text_accuracy
from picscribe.evaluation.vqa_accuracy import normalize_answer, vqa_accuracy

__all__ = [
    "AnswerMetric",
    "BleuScores",
    "CiderScorer",
    "CiderScores",
    "DocumentFrequencies",
    "Metric",
    "PairedDifference",
    "Resampling",
    "RougeScores",
    "bleu",
    "cider",
    "compare_paired",
    "contains_class",
    "equal_class",
    "exact_match",
    "intervals",
    "meteor",
    "normalize_answer",
    "plain_cider",
    "rouge_l",
    "scene_text_accuracy",
    "score_answers",
    "score_captions",
    "spice",
    "tokenize",
    "top_k",
    "vqa_accuracy",
]

"""Metrics of captions, each usable on its own: raw strings in, the published numbers out, no Java and no torch."""

from picscribe.evaluation.bleu import BleuScores, bleu
from picscribe.evaluation.cider import CiderScorer, CiderScores, cider, plain_cider
from picscribe.evaluation.document_frequencies import DocumentFrequencies
from picscribe.evaluation.ptb_tokenizer import tokenize
from picscribe.evaluation.rouge import RougeScores, rouge_l

__all__ = [
    "BleuScores",
    "CiderScorer",
    "CiderScores",
    "DocumentFrequencies",
    "RougeScores",
    "bleu",
    "cider",
    "plain_cider",
    "rouge_l",
    "tokenize",
]

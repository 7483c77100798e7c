"""All caption scores in one call: those of the metrics asked alone, and what drawing images again makes of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picscribe.errors import InputError
from picscribe.metrics import DocumentFrequencies, bleu, cider, named_things, rouge_l, score_captions
from picscribe.metrics.metric import Metric

NAMES = ["CIDEr", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "distinct", "vocabulary", "CIDEr shuffled"]
"""Those that every corpus has: "named things" needs a photo whose references agree on one."""
WHOLE = NAMES[-3:]

words = st.lists(st.sampled_from(["dog", "cat", "runs", "café", "日本"]), max_size=7).map(" ".join)
corpora = st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=1, max_size=5)
Corpus = list[tuple[str, list[str]]]


def scored(corpus: Corpus) -> dict[str, Metric]:
    return score_captions(*sides(corpus))


def sides(corpus: Corpus) -> tuple[dict[str, str], dict[str, list[str]]]:
    return {str(k): p for k, (p, _) in enumerate(corpus)}, {str(k): refs for k, (_, refs) in enumerate(corpus)}


@settings(deadline=None)  # the first call of all reads the list of things
@given(corpora)
def test_scores_are_those_of_the_metrics_asked_alone(corpus: Corpus) -> None:
    scores = scored(corpus)
    named = scores.pop("named things", None)
    if named is not None:
        assert named.value == named_things(*sides(corpus)).value
    assert list(scores) == NAMES
    cider_scores, bleu_scores, rouge_scores = cider(*sides(corpus)), bleu(*sides(corpus)), rouge_l(*sides(corpus))
    assert scores["CIDEr"].value == pytest.approx(cider_scores.corpus, rel=1e-12)
    assert scores["CIDEr"].per_item == cider_scores.per_item
    assert scores["ROUGE-L"].value == pytest.approx(rouge_scores.corpus, rel=1e-12)
    assert scores["ROUGE-L"].per_item == rouge_scores.per_item
    for order in range(4):
        metric = scores[f"BLEU-{order + 1}"]
        assert metric.value == bleu_scores.corpus[order]
        assert metric.per_item == {identity: four[order] for identity, four in bleu_scores.per_item.items()}
    for name in WHOLE:
        assert scores[name].per_item == {} and scores[name].statistic is None


@settings(deadline=None)  # the first call of all reads the list of things
@given(corpora)
def test_every_image_once_gives_the_value(corpus: Corpus) -> None:
    once = np.ones((1, len(corpus)))
    for name, metric in scored(corpus).items():
        if metric.statistic is not None:
            assert metric.statistic(once).tolist() == pytest.approx([metric.value], rel=1e-12), name


@settings(deadline=None)  # the first call of all reads the list of things
@given(corpora, st.data())
def test_images_drawn_again_are_a_corpus_that_holds_them_again(corpus: Corpus, data: st.DataObject) -> None:
    times = st.lists(st.integers(0, 3), min_size=len(corpus), max_size=len(corpus)).filter(any)
    drawn = data.draw(st.lists(times, min_size=1, max_size=3))
    scores = scored(corpus)
    frequencies = DocumentFrequencies.of_references(sides(corpus)[1])
    samples = {name: scores[name].statistic(np.array(drawn, np.float64)) for name in NAMES[:6]}  # type: ignore[misc]
    for place, counts in enumerate(drawn):
        again = sides([item for item, count in zip(corpus, counts, strict=True) for _ in range(count)])
        for order, expected in enumerate(bleu(*again).corpus, start=1):
            assert samples[f"BLEU-{order}"][place] == pytest.approx(expected, rel=1e-12, abs=1e-300)
        assert samples["ROUGE-L"][place] == pytest.approx(rouge_l(*again).corpus, rel=1e-9)
        assert samples["CIDEr"][place] == pytest.approx(cider(*again, frequencies).corpus, rel=1e-9)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(InputError, match="'b'"):
        score_captions({"a": "a dog"}, {"a": ["a dog"], "b": ["a cat"]})

"""CIDEr against a slow second implementation over explicit vectors."""

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from picscribe.metrics import CiderScorer, DocumentFrequencies, cider, plain_cider

words = st.lists(st.sampled_from(["dog", "cat", "runs", "café", "日本"]), max_size=9)
corpora = st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=1, max_size=4)
Corpus = list[tuple[list[str], list[list[str]]]]


def runs(tokens: list[str], n: int) -> list[str]:
    return [" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def slow_cider(corpus: Corpus, which: int, clipped: bool) -> float:
    """The paper's equations over vectors that have one place for every n-gram there is."""
    prediction, references = corpus[which]
    total = 0.0
    for n in (1, 2, 3, 4):
        space = sorted({run for p, refs in corpus for tokens in [p, *refs] for run in runs(tokens, n)})
        documents = {run: sum(any(run in runs(ref, n) for ref in refs) for _, refs in corpus) for run in space}
        rarity = [math.log(len(corpus) / max(1, documents[run])) for run in space]

        def vector(
            tokens: list[str], n: int = n, space: list[str] = space, rarity: list[float] = rarity
        ) -> list[float]:
            return [runs(tokens, n).count(run) * weight for run, weight in zip(space, rarity, strict=True)]

        g = vector(prediction)
        for reference in references:
            h = vector(reference)
            norms = math.dist(g, [0] * len(g)) * math.dist(h, [0] * len(h))
            dot = sum((min(x, y) if clipped else x) * y for x, y in zip(g, h, strict=True))
            lengths = max(0, len(prediction) - 1), max(0, len(reference) - 1)
            penalty = math.exp(-((lengths[0] - lengths[1]) ** 2) / 72) if clipped else 1
            total += penalty * dot / norms if norms else 0
    return 10 * total / 4 / len(references)


@pytest.mark.parametrize(("metric", "clipped"), [(cider, True), (plain_cider, False)])
@given(corpus=corpora)
@example(corpus=[(["dog"] * 9, [["dog", "cat"] * 4, ["cat"] * k]) for k in range(5)])
@example(corpus=[(["dog", "cat", "runs"], [["dog", "cat"] * (k % 5) for k in range(300)]), (["cat"], [["runs"]])])
@example(corpus=[([], [[]]), ([], [[]])])
def test_cider_is_its_definition(metric: Any, clipped: bool, corpus: Corpus) -> None:
    predictions = {str(k): " ".join(prediction) for k, (prediction, _) in enumerate(corpus)}
    references = {str(k): [" ".join(ref) for ref in refs] for k, (_, refs) in enumerate(corpus)}
    expected = [slow_cider(corpus, k, clipped) for k in range(len(corpus))]
    ours = metric(predictions, references)
    assert list(ours.per_item.values()) == pytest.approx(expected, abs=1e-9)
    assert ours.corpus == pytest.approx(sum(expected) / len(expected), abs=1e-9)


REFERENCES = {"a": ["a dog runs", "the dog is running"], "b": ["two cats sit on a wall"], "c": ["a red car"]}


def test_repeating_a_word_of_the_reference_gains_nothing() -> None:
    """What CIDEr-D was made against: plain CIDEr gives the repeated rare word a high score, CIDEr-D does not."""
    gamed = {"a": "the dog is running", "b": "cats cats cats cats", "c": "a red car"}
    assert cider(gamed, REFERENCES).per_item["b"] < plain_cider(gamed, REFERENCES).per_item["b"] / 3


def test_one_image_alone_scores_nothing_without_a_corpus() -> None:
    alone = {"a": REFERENCES["a"]}
    assert cider({"a": "a dog runs"}, alone).corpus == 0.0
    frequencies = DocumentFrequencies.of_references(REFERENCES)
    assert cider({"a": "a dog runs"}, alone, frequencies).corpus > 1


@given(first=corpora, second=corpora)
def test_frequencies_of_another_corpus(first: Corpus, second: Corpus) -> None:
    """Known n-grams, unknown ones, unknown words, in any mixture, as if the other corpus were scored along."""
    both = first + second
    ids = [str(k) for k in range(len(both))]
    references = {k: [" ".join(ref) for ref in refs] for k, (_, refs) in zip(ids, both, strict=True)}
    predictions = {k: " ".join(prediction) for k, (prediction, _) in zip(ids, both, strict=True)}
    frequencies = DocumentFrequencies.of_references(references)
    of_first = {k: references[k] for k in ids[: len(first)]}
    expected = [slow_cider(both, k, clipped=True) for k in range(len(first))]
    ours = cider({k: predictions[k] for k in of_first}, of_first, frequencies)
    assert list(ours.per_item.values()) == pytest.approx(expected, abs=1e-9)
    batch = list(of_first) * 2
    scored = CiderScorer(of_first, frequencies).score_batch(batch, [predictions[k] for k in batch])
    assert scored == pytest.approx(expected * 2, abs=1e-9)


def test_words_that_the_corpus_does_not_know_are_rarest() -> None:
    """The prediction's unknown words make its vector longer; they are not left out."""
    frequencies = DocumentFrequencies.of_references(REFERENCES)
    scorer = CiderScorer(REFERENCES, frequencies)
    known, unknown, twice = scorer.score_captions("c", ["a red car", "a red zebra", "a red zebra zebra"])
    assert known == pytest.approx(7.5)  # three words hold no run of four
    assert known > unknown > twice > 0

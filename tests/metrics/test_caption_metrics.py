"""BLEU, ROUGE-L and CIDEr against pycocoevalcap, end to end, over four kinds of predictions for Flickr8k val."""

from typing import Any

import pytest

from picscribe.errors import InputError
from picscribe.metrics import CiderScorer, bleu, cider, plain_cider, rouge_l

CLOSE = {"rel": 1e-9, "abs": 1e-12}


def joined(captions: list[str], stanford: Any) -> list[str]:
    return [" ".join(tokens) for tokens in stanford(captions)]


@pytest.fixture(scope="session")
def tokenised(val_predictions: Any, stanford: Any) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    predictions, references = val_predictions
    answers = joined(list(predictions.values()), stanford)
    flat = iter(joined([caption for captions in references.values() for caption in captions], stanford))
    return (
        {identity: [answer] for identity, answer in zip(predictions, answers, strict=True)},
        {identity: [next(flat) for _ in captions] for identity, captions in references.items()},
    )


@pytest.mark.java
def test_bleu_as_pycocoevalcap(val_predictions: Any, tokenised: Any) -> None:
    module = pytest.importorskip("pycocoevalcap.bleu.bleu")
    corpus, per_item = module.Bleu(4).compute_score(tokenised[1], tokenised[0], verbose=0)
    ours = bleu(*val_predictions)
    assert ours.corpus == pytest.approx(corpus, **CLOSE)
    for order in range(4):
        assert [scores[order] for scores in ours.per_item.values()] == pytest.approx(per_item[order], **CLOSE)


@pytest.mark.java
def test_rouge_as_pycocoevalcap(val_predictions: Any, tokenised: Any) -> None:
    module = pytest.importorskip("pycocoevalcap.rouge.rouge")
    corpus, per_item = module.Rouge().compute_score(tokenised[1], tokenised[0])
    ours = rouge_l(*val_predictions)
    assert ours.corpus == pytest.approx(corpus, **CLOSE)
    assert list(ours.per_item.values()) == pytest.approx(per_item, **CLOSE)


@pytest.mark.java
def test_cider_as_pycocoevalcap(val_predictions: Any, tokenised: Any) -> None:
    module = pytest.importorskip("pycocoevalcap.cider.cider")
    corpus, per_item = module.Cider().compute_score(tokenised[1], tokenised[0])
    ours = cider(*val_predictions)
    assert ours.corpus == pytest.approx(corpus, **CLOSE)
    assert list(ours.per_item.values()) == pytest.approx(per_item, **CLOSE)


TWO = {"a": ["a dog runs", "the dog"], "b": ["two cats sit on a wall"]}


@pytest.mark.parametrize("metric", [bleu, rouge_l, cider, plain_cider])
@pytest.mark.parametrize(
    ("predictions", "references", "named"),
    [
        ({"a": "x"}, TWO, "'b'"),
        ({"a": "x", "b": "y", "other": "z"}, TWO, "'other'"),
        ({}, {}, "no references"),
        ({"a": "x"}, {"a": []}, "'a'"),
        ({"a": "x"}, {"a": "a dog"}, "'a dog'"),
        ({"a": None}, {"a": ["x"]}, "NoneType"),
        ({"a": "x"}, {"a": [3]}, "int"),
    ],
)
def test_what_does_not_fit_is_named(metric: Any, predictions: Any, references: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        metric(predictions, references)


@pytest.mark.parametrize("empty", ["", "  \n", ".", "😀"])
def test_an_empty_prediction_scores_nothing(empty: str) -> None:
    predictions = {"a": empty, "b": "two cats sit on a wall"}
    assert max(bleu(predictions, TWO).per_item["a"]) < 1e-6
    assert rouge_l(predictions, TWO).per_item["a"] == 0
    assert cider(predictions, TWO).per_item["a"] == 0


def test_a_copy_of_the_only_reference_is_perfect() -> None:
    predictions = {"a": "nothing here", "b": "Two cats sit on a wall."}
    assert bleu(predictions, TWO).per_item["b"] == pytest.approx((1, 1, 1, 1), abs=1e-6)
    assert rouge_l(predictions, TWO).per_item["b"] == pytest.approx(1)
    assert cider(predictions, TWO).per_item["b"] == pytest.approx(10)


def test_ids_may_come_in_any_order() -> None:
    predictions = {"b": "two cats", "a": "a dog"}
    turned = dict(reversed(predictions.items()))
    for metric in (bleu, rouge_l, cider, plain_cider):
        assert metric(predictions, TWO) == metric(turned, TWO)


def test_a_fraction_is_one_word_to_rouge_and_two_to_the_others() -> None:
    """As in pycocoevalcap, which parts words at a no-break space in BLEU and CIDEr alone."""
    predictions, references = {"a": "2 1/2 cups", "b": "a dog"}, {"a": ["2 cups"], "b": ["two cats"]}
    assert bleu(predictions, references).per_item["a"][0] == pytest.approx(2 / 3)
    assert rouge_l(predictions, references).per_item["a"] == pytest.approx(1 / 2)
    assert cider(predictions, references).per_item["a"] > 0


def test_an_odd_space_parts_words() -> None:
    assert bleu({"a": "a\u2003dog"}, {"a": ["a dog"]}).corpus[1] == pytest.approx(1)


def test_scorer_is_cider_batch_by_batch() -> None:
    predictions = {"a": "a dog runs", "b": "two cats on a wall"}
    scorer = CiderScorer(TWO)
    whole = cider(predictions, TWO)
    assert scorer.score(predictions).per_item == pytest.approx(whole.per_item, rel=1e-12)
    assert scorer.score(predictions).corpus == pytest.approx(whole.corpus, rel=1e-12)
    for identity, caption in predictions.items():
        assert scorer.score({identity: caption}).corpus == pytest.approx(whole.per_item[identity], rel=1e-12)
        samples = scorer.score_captions(identity, [caption, "", caption])
        assert samples == pytest.approx([whole.per_item[identity], 0.0, whole.per_item[identity]], rel=1e-12)
    batch = scorer.score_batch(["b", "a", "b"], [predictions["b"], predictions["a"], "an unseen word"])
    assert batch.dtype == "float64"
    assert batch.tolist() == pytest.approx([whole.per_item["b"], whole.per_item["a"], 0.0], rel=1e-12)
    assert scorer.score_batch([], []).shape == (0,)
    assert CiderScorer(TWO, form="plain").score(predictions).per_item == pytest.approx(
        plain_cider(predictions, TWO).per_item, rel=1e-12
    )
    with pytest.raises(InputError, match="'c'"):
        scorer.score({"c": "a dog"})
    with pytest.raises(InputError, match="no predictions"):
        scorer.score({})
    with pytest.raises(InputError, match="1 ids and 2 captions"):
        scorer.score_batch(["a"], ["x", "y"])
    with pytest.raises(InputError, match="prediction of 'a' must be a text"):
        scorer.score_batch(["a"], [None])  # type: ignore[list-item]

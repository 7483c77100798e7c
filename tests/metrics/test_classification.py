"""Classification by generation: the paper's "equal" and "in", and top-k of ranked classes."""

import random
from typing import Any

import pytest

from picscribe.errors import ConfigurationError, InputError
from picscribe.metrics.classification import contains_class, equal_class, top_k


@pytest.mark.parametrize(
    ("prediction", "label", "equal", "contained"),
    [
        ("goldfish", "goldfish", True, True),
        ("Goldfish ", "goldfish", True, True),
        ("siamese cat", "Siamese cat", True, True),
        ("gold fish", "goldfish", True, True),
        ("ice cream", "icecream", True, True),
        ("man - eater", "man-eater", True, True),
        ("a goldfish in a bowl", "goldfish", False, True),
        ("a man - eater at sea", "man-eater", False, True),
        ("a siamese  cat asleep", "Siamese cat", False, True),
        ("fish", "goldfish", False, False),
        ("kitchen", "hen", False, True),
        ("the nest", "hen", False, False),
        ("a gold fish in a bowl", "goldfish", False, False),
        ("tinca tinca", "tench, Tinca tinca", True, True),
        ("tench, tinca tinca", "tench, Tinca tinca", True, True),
        ("a tench on a plate", "tench, Tinca tinca", False, True),
        ("tinca", "tench, Tinca tinca", False, False),
        ("goldfish.", "goldfish", False, True),
        ("", "goldfish", False, False),
        ("", "tench, ", False, False),
        (",", "tench,, x", False, False),
    ],
)
def test_equal_and_in(prediction: str, label: str, equal: bool, contained: bool) -> None:
    assert equal_class({"i": prediction}, {"i": [label]}).value == equal
    assert contains_class({"i": prediction}, {"i": [label]}).value == contained


def test_several_labels_are_all_right() -> None:
    assert equal_class({"i": "cup"}, {"i": ["mug", "cup"]}).value == 1
    assert contains_class({"i": "a cup"}, {"i": ["mug", "cup"]}).value == 1
    assert top_k({"i": ["cup"]}, {"i": ["mug", "cup"]}, 1).value == 1


def test_top_k_as_counting_by_hand() -> None:
    source = random.Random(3)
    classes = [f"Class {number}" for number in range(9)]
    ranked = {str(image): source.sample(classes, source.randrange(10)) for image in range(300)}
    labels = {image: [source.choice(classes)] for image in ranked}
    for k in (1, 5, 9, 20):
        right = [sum(label[0] == name for name in ranked[image][:k]) for image, label in labels.items()]
        metric = top_k({image: [name.lower() for name in names] for image, names in ranked.items()}, labels, k)
        assert list(metric.per_item.values()) == right
        assert metric.value == pytest.approx(sum(right) / 300)
    assert top_k(ranked, labels, 1).value < top_k(ranked, labels, 5).value < top_k(ranked, labels, 9).value


def test_top_k_takes_the_label_as_it_is_written() -> None:
    label = {"i": ["tench, Tinca tinca"]}
    assert top_k({"i": ["tench, tinca tinca"]}, label, 1).value == 1
    assert top_k({"i": ["tench"]}, label, 1).value == 0
    assert equal_class({"i": "tench"}, label).value == 1


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "1"])
def test_k_must_be_a_count(k: Any) -> None:
    with pytest.raises(ConfigurationError, match="k must be a whole number of at least 1"):
        top_k({"i": ["cup"]}, {"i": ["cup"]}, k)


@pytest.mark.parametrize("ranking", ["cup", None, [3]])
def test_a_ranking_is_a_list_of_names(ranking: Any) -> None:
    with pytest.raises(InputError, match="ranking of 'i' must be a list of class names"):
        top_k({"i": ranking}, {"i": ["cup"]}, 1)


@pytest.mark.parametrize("score", [equal_class, contains_class, lambda p, a: top_k({"i": [p["i"]]}, a, 1)])
def test_an_empty_class_name_is_refused(score: Any) -> None:
    with pytest.raises(InputError, match="answers of 'i': an empty class name"):
        score({"i": "cup"}, {"i": ["cup", " "]})

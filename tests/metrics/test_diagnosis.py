"""What tells a broken model: the same caption everywhere, few words, captions that fit any image."""

import math
from itertools import permutations
from typing import Any

import pytest

from picscribe.metrics import cider
from picscribe.metrics.diagnosis import SHUFFLES, distinct_share, shuffled_cider, vocabulary_share
from picscribe.metrics.pairs import CaptionPairs, pair_captions

REFERENCES = {
    "a": ["A dog runs over wet grass.", "The dog is running"],
    "b": ["two cats sit on a wall", "Cats on a wall"],
    "c": ["a red car", "The red car waits"],
    "d": ["a man reads a book in bed", "someone reads"],
}


def pairs_of(*captions: str) -> CaptionPairs:
    return pair_captions(dict(zip(REFERENCES, captions, strict=False)), dict(list(REFERENCES.items())[: len(captions)]))


def test_captions_are_the_same_where_their_words_are() -> None:
    assert distinct_share(pairs_of("a dog", "A dog.", " a  DOG", "a dog")) == 1 / 4
    assert distinct_share(pairs_of("a dog", "a cat", "a dog", "")) == 3 / 4
    assert distinct_share(pairs_of("a dog", "dog a", "dog", "a")) == 1


def test_only_words_of_the_references_count_as_vocabulary() -> None:
    # a dog runs over wet grass the is running, two cats sit on a wall: 14 different words
    assert vocabulary_share(pairs_of("a dog", "A wall of zebras")) == 3 / 14
    assert vocabulary_share(pairs_of("two cats sit", "")) == 3 / 14  # said of another image
    assert vocabulary_share(pairs_of("", "")) == 0
    assert vocabulary_share(pair_captions({"a": "dog"}, {"a": ["."]})) == 1


def shuffles(captions: tuple[str, ...]) -> list[float]:
    """CIDEr of every way to give each caption another image."""
    ids, turns = list(REFERENCES), range(len(captions))
    orders = [order for order in permutations(turns) if all(k != place for place, k in enumerate(order))]
    return [cider(dict(zip(ids, (captions[k] for k in order), strict=True)), REFERENCES).corpus for order in orders]


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_cider_is_a_mean_over_ways_to_part_captions_from_their_images(seed: int) -> None:
    captions = ("a dog on a wall", "cats and a red car", "a car on grass", "a man reads the wet book")
    ways = shuffles(captions)
    assert len(ways) == 9 and SHUFFLES == 5
    shuffled = shuffled_cider(pairs_of(*captions), seed=seed)
    assert min(ways) <= shuffled <= max(ways)
    assert shuffled == shuffled_cider(pairs_of(*captions), seed=seed)


def test_of_two_images_there_is_one_way() -> None:
    references = dict(list(REFERENCES.items())[:2])
    swapped = cider({"a": "cats on a wall", "b": "a dog on a wall"}, references).corpus
    assert swapped > 0
    pairs = pair_captions({"a": "a dog on a wall", "b": "cats on a wall"}, references)
    assert shuffled_cider(pairs) == pytest.approx(swapped)


def test_people_who_look_fall_and_those_who_do_not_stay() -> None:
    looking = pairs_of(*(captions[0] for captions in REFERENCES.values()))
    assert (
        shuffled_cider(looking)
        < cider(dict(zip(looking.ids, map(" ".join, looking.predictions), strict=True)), REFERENCES).corpus / 10
    )
    same = ("a cat on the wall",) * 4
    assert shuffled_cider(pairs_of(*same)) == pytest.approx(
        cider(dict.fromkeys(REFERENCES, same[0]), REFERENCES).corpus
    )


def test_one_image_has_no_other() -> None:
    assert shuffled_cider(pairs_of("a dog runs")) == 0


def test_shuffles_differ() -> None:
    captions = ("a dog on a wall", "cats and a red car", "a car on grass", "a man reads the wet book")
    assert len({shuffled_cider(pairs_of(*captions), seed=seed) for seed in range(5)}) > 1


def test_shuffling_val_takes_away_what_people_saw(val_predictions: Any) -> None:
    pairs = pair_captions(*val_predictions)
    own = cider(*val_predictions).corpus
    shuffled = shuffled_cider(pairs)
    assert math.isfinite(shuffled)
    if distinct_share(pairs) < 0.1:
        assert shuffled == pytest.approx(own, abs=0.02)
    else:
        assert shuffled < 0.12

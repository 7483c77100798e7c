"""Named things: what counts as a thing, on which ones references agree, and the share of captions that name one."""

import re
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picscribe.errors import InputError
from picscribe.metrics import Resampling, agreed_things, intervals, named_things, score_captions, things_of
from picscribe.metrics.named_things import _lexicon

GROUPS = [
    group
    for line in files("picscribe.metrics").joinpath("things.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
    for group in line.split()
]


@pytest.mark.parametrize(
    ("caption", "things"),
    [
        ("A dog runs.", {"dog"}),
        ("Two DOGS and three puppies!", {"dog", "puppy"}),
        ("Men, women and children", {"man", "woman", "child"}),
        ("people on a bike", {"person", "bicycle"}),
        ("the leaves of knives and shelves", {"leaf", "knife", "shelf"}),
        ("a hot dog", {"hot dog"}),
        ("two hot-dogs", {"hot dog"}),
        ("a teddy bear beside a bear", {"teddy bear", "bear"}),
        ("a tennis player on tennis courts", {"player", "court"}),
        ("a red fire hydrant near a fire", {"fire hydrant", "fire"}),
        ("cell phones", {"phone"}),
        ("a close - up of a cat ' s face", {"cat", "face"}),
        ("a dog heads left", {"dog"}),
        ("heads", set()),
        ("it stands in the background of a picture", set()),
        ("", set()),
    ],
)
def test_the_things_of_a_caption(caption: str, things: set[str]) -> None:
    assert things_of(caption) == things


@cache
def oracle() -> re.Pattern[str]:
    """All names at once: the longest that fits at a place wins, as a regular expression finds it."""
    names = "|".join(sorted(map(re.escape, _lexicon()[0]), key=len, reverse=True))
    return re.compile(rf"(?<!\S)(?:{names})(?!\S)")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["hot", "dog", "dogs", "fire", "hydrant", "a", "teddy", "bear", "ice", "cream", "x"])))
def test_names_of_several_words_are_found_as_a_regular_expression_finds_them(words: list[str]) -> None:
    found = {_lexicon()[0][name] for name in oracle().findall(" ".join(words))}
    assert things_of(" ".join(words)) == found


@pytest.mark.parametrize(
    ("naming", "references", "agree"),
    [
        *[(1, 1, True), (1, 2, False), (2, 2, True), (1, 3, False), (2, 3, True), (2, 4, False), (3, 4, True)],
        *[(2, 5, False), (3, 5, True), (3, 6, False), (4, 6, True)],
    ],
)
def test_three_fifths_of_the_references_agree(naming: int, references: int, agree: bool) -> None:
    texts = ["two dogs"] * naming + ["it runs"] * (references - naming)
    assert agreed_things(texts) == ({"dog"} if agree else set())


def test_only_photos_whose_references_agree_count() -> None:
    references = {
        "right": ["a dog on grass", "dogs", "a brown dog"],
        "wrong": ["a cat", "the cat", "a cat"],
        "open": ["a dog", "a cat", "a cow"],
    }
    metric = named_things({"right": "grass and a dog", "wrong": "a dog", "open": "a dog"}, references)
    assert metric.value == 0.5
    assert metric.per_item["right"] == 1
    assert metric.per_item["wrong"] == 0
    assert np.isnan(metric.per_item["open"])
    assert list(metric.per_item) == list(references)


texts = st.lists(st.sampled_from(["dog", "cat", "runs"]), max_size=3).map(" ".join)
photos = st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=5)), min_size=1, max_size=6)


@settings(deadline=None)
@given(photos, st.data())
def test_photos_drawn_again_are_a_data_set_that_holds_them_again(
    corpus: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    def score(rows: list[tuple[str, list[str]]]) -> float | None:
        try:
            return named_things(
                {str(k): said for k, (said, _) in enumerate(rows)}, {str(k): refs for k, (_, refs) in enumerate(rows)}
            ).value
        except InputError:
            return None

    whole = score(corpus)
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(corpus), max_size=len(corpus)).filter(any))
    if whole is None:
        return
    metric = named_things(
        {str(k): said for k, (said, _) in enumerate(corpus)}, {str(k): refs for k, (_, refs) in enumerate(corpus)}
    )
    assert metric.statistic is not None
    drawn = score([row for row, count in zip(corpus, times, strict=True) for _ in range(count)])
    expected = whole if drawn is None else drawn
    assert metric.statistic(np.array([times], np.float64)).tolist() == pytest.approx([expected])


def test_a_score_where_nothing_can_be_named_is_an_error_and_is_left_out() -> None:
    sides = {"a": "a dog", "b": "it"}, {"a": ["it runs"], "b": ["it"]}
    with pytest.raises(InputError, match="agree on a thing"):
        named_things(*sides)
    assert "named things" not in score_captions(*sides)
    scores = score_captions({"a": "a dog"}, {"a": ["the dog"]})
    assert scores["named things"].value == 1
    assert intervals(scores, Resampling(samples=10))["named things"] == (1, 1)


def test_the_list_of_things_holds_each_name_once_and_no_two_plurals_meet() -> None:
    names = [name.strip("!-") for group in GROUPS for name in group.split("=")]
    assert len(names) == len(set(names)), {name for name in names if names.count(name) > 1}
    assert all(re.fullmatch(r"[a-zé]+(_[a-z]+)*", name) for name in names)
    things = _lexicon()[0]
    for group in GROUPS:
        for name in group.split("="):
            own = things[name.strip("!-").replace("_", " ")]
            plural = things.get(name.strip("!-").replace("_", " ") + "s", own)
            assert plural == own, (name, plural)

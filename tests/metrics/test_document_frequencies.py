"""Document frequencies against counting by hand, saved and loaded, and files that hold anything else."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picscribe.errors import InputError
from picscribe.metrics import CiderScorer, DocumentFrequencies, cider

REFERENCES = {"a": ["a dog runs", "the dog is running"], "b": ["two cats sit on a wall"], "c": ["a red car"]}

words = st.lists(st.sampled_from(["dog", "cat", "runs", "café", "日本"]), max_size=7)


@given(st.lists(st.lists(words, min_size=1, max_size=3), min_size=1, max_size=5))
def test_an_image_counts_once(corpus: list[list[list[str]]]) -> None:
    expected: dict[str, int] = {}
    for captions in corpus:
        runs = {" ".join(c[i : i + n]) for c in captions for n in (1, 2, 3, 4) for i in range(len(c) - n + 1)}
        for run in runs:
            expected[run] = expected.get(run, 0) + 1
    references = {str(k): [" ".join(caption) for caption in captions] for k, captions in enumerate(corpus)}
    frequencies = DocumentFrequencies.of_references(references)
    assert frequencies.documents == len(corpus)
    assert frequencies.by_ngram() == expected
    assert list(frequencies.by_ngram()) == sorted(expected)


def test_saved_frequencies_give_the_same_scores(tmp_path: Path) -> None:
    frequencies = DocumentFrequencies.of_references(REFERENCES)
    frequencies.save(tmp_path / "frequencies.json")
    loaded = DocumentFrequencies.load(tmp_path / "frequencies.json")
    assert (loaded.documents, loaded.by_ngram()) == (3, frequencies.by_ngram())
    predictions = dict.fromkeys(REFERENCES, "a dog on a wall")
    own = cider(predictions, REFERENCES).per_item
    assert cider(predictions, REFERENCES, loaded).per_item == pytest.approx(own, rel=1e-12)
    assert CiderScorer(REFERENCES, loaded).score(predictions).per_item == pytest.approx(own, rel=1e-12)


def test_captions_without_words_can_be_saved(tmp_path: Path) -> None:
    DocumentFrequencies.of_references({"a": ["", "."]}).save(tmp_path / "frequencies.json")
    loaded = DocumentFrequencies.load(tmp_path / "frequencies.json")
    assert loaded.by_ngram() == {}
    assert cider({"a": "a dog"}, {"a": ["a cat"]}, loaded).corpus == 0


def test_order_and_byte_order_mark_make_no_difference(tmp_path: Path) -> None:
    frequencies = DocumentFrequencies.of_references(REFERENCES)
    turned = dict(reversed(frequencies.by_ngram().items()))
    path = tmp_path / "frequencies.json"
    path.write_text(json.dumps({"documents": 3, "counts": turned}), encoding="utf-8-sig")
    loaded = DocumentFrequencies.load(path)
    assert loaded.by_ngram() == frequencies.by_ngram()
    predictions = dict.fromkeys(REFERENCES, "a dog on a wall")
    scores = [cider(predictions, REFERENCES, each).corpus for each in (loaded, frequencies)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-12)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        json.dumps({"documents": 3}),
        json.dumps({"counts": {}}),
        json.dumps({"documents": 0, "counts": {}}),
        json.dumps({"documents": True, "counts": {}}),
        json.dumps({"documents": 10**30, "counts": {}}),
        json.dumps({"documents": 3, "counts": {"a": 4}}),
        json.dumps({"documents": 3, "counts": {"a": 0}}),
        json.dumps({"documents": 3, "counts": {"a": "1"}}),
        json.dumps({"documents": 3, "counts": {"a": None, "a a": 1}}),
        json.dumps({"documents": 3, "counts": {"": 1}}),
        json.dumps({"documents": 3, "counts": {"a": 1, "a ": 1}}),
        json.dumps({"documents": 3, "counts": {"a b": 1, "b": 1}}),
        json.dumps({"documents": 3, "counts": {"a b": 1, "a": 1}}),
        json.dumps({"documents": 3, "counts": {"a b": 2, "a": 1, "b": 2}}),
        json.dumps({"documents": 3, "counts": {"a": 1, "a a": 1, "a a a": 1, "a a a a": 1, "a a a a a": 1}}),
        json.dumps({"documents": 3, "counts": []}),
        b"\xff\xfe\x00",
    ],
)
def test_what_is_not_frequencies_is_refused(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "frequencies.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"frequencies\.json"):
        DocumentFrequencies.load(path)


def test_places_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        DocumentFrequencies.load(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="nowhere"):
        DocumentFrequencies.of_references(REFERENCES).save(tmp_path / "nowhere" / "frequencies.json")

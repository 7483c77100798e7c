"""Labels from lists and files: what stays, under which name, and what is told."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picscribe.errors import InputError
from picscribe.text import Tokenizer
from picscribe.text.labels import Labels, read_labels

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENIZER = Tokenizer([*SPECIAL, "great", "white", "shark", "cafe", "-", "d", "##og", "dog"])


def test_labels() -> None:
    given = ["Great White  Shark", "great", " dog ", "GREAT", "Café", "great white shark", "cafe"]
    labels = Labels.of(TOKENIZER, given, "pets.txt")
    assert len(labels) == 4
    assert labels.names == ("Great White  Shark", "great", "dog", "Café")
    assert labels.tokens == ((5, 6, 7), (5,), (12,), (8,))
    assert labels.places == (0, 1, 2, 4)
    assert labels.notes == (
        "pets.txt: 4, 'GREAT', is left out: it means the same to the checkpoint as 2, 'great'",
        "pets.txt: 6, 'great white shark', is left out: it means the same to the checkpoint as 1, 'Great White  Shark'",
        "pets.txt: 7, 'cafe', is left out: it means the same to the checkpoint as 5, 'Café'",
    )


def test_what_cannot_be_written() -> None:
    given = ["dog", "", " \t", "zebra", "zebra ☃", "white zebra", "white ☃", "dog [SEP]", "[MASK]", "x" * 200]
    labels = Labels.of(TOKENIZER, given)
    assert labels.names == ("dog", "white zebra")
    assert labels.notes[:2] == (
        "labels: 2, '', is left out: it is empty",
        "labels: 3, ' \\t', is left out: it is empty",
    )
    told = "\n".join(labels.notes)
    assert "4, 'zebra', is left out: it has no word that the checkpoint knows" in told
    assert "5, 'zebra ☃', is left out: it has no word that the checkpoint knows" in told
    assert "6, 'white zebra', has words that the checkpoint cannot write: 'zebra'" in told
    assert "7, 'white ☃', is left out: it means the same to the checkpoint as 6, 'white zebra'" in told
    assert "8, 'dog [SEP]', is left out: it has the special token [SEP]" in told
    assert "9, '[MASK]', is left out: it has the special token [MASK]" in told
    assert f"10, '{'x' * 60}…', is left out" in told
    assert len(labels.notes) == 9


@pytest.mark.parametrize("given", [[], ["", "  "], ["zebra"], ["[SEP]"]])
def test_no_label_left(given: list[str]) -> None:
    with pytest.raises(InputError, match=f"none of {len(given)} labels can be used: give at least one"):
        Labels.of(TOKENIZER, given)


@pytest.mark.parametrize("given", [["dog", 3], ["dog", None], ["dog", "\ud800"]])
def test_no_text(given: list[str]) -> None:
    with pytest.raises(InputError, match="text"):
        Labels.of(TOKENIZER, given)


def test_a_string_is_not_a_list() -> None:
    with pytest.raises(InputError, match="a list of texts"):
        Labels.of(TOKENIZER, "dog")


WORD = st.sampled_from(["dog", "DOG", "great", "white", "zebra", "", " ", "[SEP]", "café", "\u2028", "d-og"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(WORD, max_size=4).map(" ".join), max_size=12))
def test_every_label_stays_or_is_noted(given: list[str]) -> None:
    try:
        labels = Labels.of(TOKENIZER, given)
    except InputError:
        labels = Labels((), (), (), ())
    assert len(set(labels.tokens)) == len(labels)
    for place, text in enumerate(given):
        ids = tuple(TOKENIZER.encode(text))
        usable = any(index != TOKENIZER.unk_id for index in ids) and not {0, 2, 3, 4} & set(ids)
        assert (ids in labels.tokens) == usable
        if usable:
            at = labels.tokens.index(ids)
            assert labels.places[at] <= place
            assert given[labels.places[at]].strip() == labels.names[at]
        if labels and place not in labels.places:
            assert any(note.startswith(f"labels: {place + 1}, ") and "left out" in note for note in labels.notes)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"dog\ncat\n", ["dog", "cat"]),
        (b"dog\r\n\r\ncat", ["dog", "", "cat"]),
        (b"\xef\xbb\xbfdog\rcat\n\n", ["dog", "cat", ""]),
        ("caf\u00e9\u2028bar\n".encode(), ["caf\u00e9\u2028bar"]),
        (b"", []),
    ],
)
def test_read(data: bytes, lines: list[str], tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(data)
    assert read_labels(file) == lines


def test_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("dog\ncafé\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"labels.txt: line 2 is not UTF-8 text"):
        read_labels(file)
    for wrong in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(InputError, match="cannot be read"):
            read_labels(wrong)

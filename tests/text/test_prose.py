"""Text as people write it: marks where they belong, the same tokens as before, and growing only at its end."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picscribe.text import Tokenizer
from picscribe.text.tokenizer import write_settled_words, write_words

WRITTEN = [
    "a close-up of a cat's face",
    "a dog, a cat and a man.",
    "don't walk! isn't it?",
    "the dogs' tails",
    "a man in a t-shirt on a black-and-white photo",
    "it's 10:30 on the clock",
    "a sign that says 'stop' on a pole",
    'a sign that says "no parking, please" by the road',
    "the boys' room",
    "a price of $5.99 or 1,000",
    "3 dogs, 4 cats",
    "100% cotton (red)",
    "the u.s. flag",
    "3 o'clock",
    "rock-and-roll",
    "he said: a dog; a cat",
    'a 12" pizza',
    "they're here and we'll go",
    "a and/or b",
    "m&m and salt & pepper",
    "#1 dad",
    "a cat...",
    "a shirt with 'hello' and 'bye'",
    "a man - ",
    "",
]


def words_of(text: str) -> list[str]:
    """As BERT splits a text."""
    letters = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"])
    split = letters._tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return [word for word, _ in split]


@pytest.mark.parametrize("text", WRITTEN)
def test_what_people_write_comes_back(text: str) -> None:
    assert write_words(words_of(text)) == text.strip()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("a close - up of a cat ' s face", "a close-up of a cat's face"),
        ("- a dog", "- a dog"),
        ("a dog -", "a dog -"),
        ("' s", "'s"),
        ("children ’ s", "children’s"),
        ("the “ best ” dog", "the “best” dog"),
        ('" a dog', '"a dog'),
        ("vitamin c . a dog", "vitamin c. a dog"),
        ("1 , 2 , 3", "1, 2, 3"),
        ("a ( b ) c", "a (b) c"),
    ],
)
def test_marks(words: str, text: str) -> None:
    assert write_words(words.split()) == text


MARKS = list("',.-\"!?:;()/&$%#")
WORDS = ["a", "dog", "dogs", "says", "s", "t", "10", "5", "c", "u", "re", "clock", "it"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(MARKS + WORDS), max_size=14))
def test_the_words_stay_and_a_growing_text_only_grows(words: list[str]) -> None:
    text = write_words(words)
    assert words_of(text) == words
    said = ""
    for count in range(len(words) + 1):
        settled = write_settled_words(words[:count])
        assert settled.startswith(said[: len(settled)])
        said = max(said, settled, key=len)
        assert text.startswith(said), (words[:count], settled)


def test_only_what_may_change_is_held_back() -> None:
    words = ["a", "dog", "runs", "on", "the", "green", "grass"]
    assert write_settled_words(words) == write_words(words)
    assert write_settled_words(["a", "cat", "'"]) == "a cat"
    assert write_settled_words(["a", "cat", "'", "s", "face"]) == "a cat's face"


def test_tokens_of_what_is_written_are_those_it_was_written_from() -> None:
    letters = [chr(code) for code in range(97, 123)]
    pieces = [*MARKS, *"0123456789", *letters, *(f"##{c}" for c in [*letters, *"0123456789"])]
    tokenizer = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces])
    draw = random.Random(3)
    for _ in range(300):
        ids = tokenizer.encode(" ".join(draw.choices(MARKS + WORDS, k=10)))
        assert tokenizer.encode(tokenizer.write(ids)) == ids
        assert tokenizer.encode(tokenizer.decode(ids)) == ids
    assert tokenizer.write([tokenizer.cls_id, *tokenizer.encode("a cat's dog"), tokenizer.sep_id]) == "a cat's dog"
    assert tokenizer.write(tokenizer.encode("dogs")[1:]) == "ogs"

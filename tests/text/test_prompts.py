"""What goes into the decoder: prompts and training examples, against the original's rule written out step by step."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picscribe.errors import ConfigurationError
from picscribe.text import Tokenizer, prompt_ids, training_example

PAD, UNK, CLS, SEP = range(4)
NUMBERS = [f"n{index:02d}" for index in range(90)]
TOKENIZER = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *NUMBERS])


def text(count: int, start: int = 0) -> str:
    return " ".join(NUMBERS[start : start + count])


def ids(start: int, end: int) -> list[int]:
    return list(range(4 + start, 4 + end))


@pytest.mark.parametrize(
    ("length", "kept"),
    [
        (0, ids(0, 0)),
        (1, ids(0, 1)),
        (37, ids(0, 37)),
        (38, ids(0, 38)),
        (39, ids(1, 39)),
        (40, ids(2, 40)),
        (41, ids(2, 40)),
        (90, ids(2, 40)),
    ],
)
def test_prompt(length: int, kept: list[int]) -> None:
    assert prompt_ids(TOKENIZER, text(length)) == [CLS, *kept]


def test_no_prompt() -> None:
    assert prompt_ids(TOKENIZER, None) == [CLS] == prompt_ids(TOKENIZER, "")


def test_training_example() -> None:
    example = training_example(TOKENIZER, text(2), text(3, start=10))
    assert example.tokens == (CLS, *ids(0, 2), *ids(10, 13), SEP)
    assert example.predict == (False, False, False, True, True, True, True)


def test_training_example_without_prefix_or_target() -> None:
    assert training_example(TOKENIZER, "", text(2)).predict == (False, True, True, True)
    assert training_example(TOKENIZER, text(2), "").predict == (False, False, False, True)
    assert training_example(TOKENIZER, "", "").tokens == (CLS, SEP)


@pytest.mark.parametrize(
    ("prefix", "target", "tokens"),
    [
        (20, 20, [*ids(0, 20), *ids(20, 40)]),
        (20, 21, [*ids(3, 20), *ids(20, 41)]),
        (45, 0, ids(0, 40)),
        (0, 45, ids(0, 40)),
        (45, 5, [*ids(7, 40), *ids(45, 50)]),
        (10, 39, ids(11, 49)),
        (10, 60, ids(12, 50)),
    ],
)
def test_long_training_examples(prefix: int, target: int, tokens: list[int]) -> None:
    example = training_example(TOKENIZER, text(prefix), text(target, start=prefix))
    assert example.tokens == (CLS, *tokens, SEP)


@given(prefix=st.integers(0, 45), target=st.integers(0, 45), limit=st.integers(3, 45))
@settings(max_examples=300, deadline=None)
def test_predicts_targets_and_sep_only(prefix: int, target: int, limit: int) -> None:
    example = training_example(TOKENIZER, text(prefix), text(target, start=45), limit)
    assert len(example.tokens) == len(example.predict) <= limit + 2
    assert example.tokens[0] == CLS and example.tokens[-1] == SEP
    for token, predicted in zip(example.tokens, example.predict, strict=True):
        assert predicted == (token == SEP or token >= 4 + 45)
    learned, both = min(target, limit), min(prefix, limit) + min(target, limit)
    assert sum(example.predict) == 1 + (learned if both <= limit else min(learned, limit - 2))


def test_too_few_tokens() -> None:
    with pytest.raises(ConfigurationError, match="max_tokens must be at least 3, not 2"):
        training_example(TOKENIZER, "", "n01", max_tokens=2)

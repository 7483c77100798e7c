"""Scene-text accuracy: letters and digits alone, any case, in any script."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picscribe.errors import InputError
from picscribe.metrics.exact_match import bare_word, scene_text_accuracy


@pytest.mark.parametrize(
    ("prediction", "word", "right"),
    [
        ("stop", "STOP", True),
        ("Stop!", "stop", True),
        ("don ' t", "DON'T", True),
        ("7 - eleven", "7-Eleven", True),
        ("open 24", "open24", True),
        ("st0p", "stop", False),
        ("stops", "stop", False),
        ("", "stop", False),
        ("...", "stop", False),
        ("CAFÉ", "cafe\u0301", True),
        ("cafe", "café", False),
        ("STRASSE", "straße", True),
        ("ＣＡＦＥ", "cafe", True),
        ("東京駅", "東京 駅", True),
        ("東京", "東京駅", False),
        ("ΣΟΦΟΣ", "σοφος", True),
        ("हिन्दी", "हिन्दी", True),
        ("हन्द", "हिन्दी", False),
        ("snake_case", "snakecase", True),
        ("5€", "5", True),
    ],
)
def test_what_is_right(prediction: str, word: str, right: bool) -> None:
    assert scene_text_accuracy({"p": prediction}, {"p": [word]}).value == right


@given(st.text(string.printable))
def test_over_ascii_it_is_the_convention_of_36_signs(text: str) -> None:
    assert bare_word(text) == "".join(sign for sign in text.lower() if sign in string.ascii_lowercase + string.digits)


@given(st.text())
def test_bare_words_are_bare_already(text: str) -> None:
    assert bare_word(bare_word(text)) == bare_word(text)


def test_any_accepted_word_counts() -> None:
    words = {"a": ["colour", "color"], "b": ["grey", "!"]}
    assert scene_text_accuracy({"a": "Color", "b": ""}, words).per_item == {"a": 1, "b": 0}


def test_a_word_without_letters_and_digits_is_refused() -> None:
    with pytest.raises(InputError, match=r"'sign\.jpg': no letter and no digit in"):
        scene_text_accuracy({"sign.jpg": "x"}, {"sign.jpg": ["?!"]})

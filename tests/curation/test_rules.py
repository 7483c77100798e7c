"""What texts are kept from a model, and what settings are refused."""

import sys

import pytest

from picscribe.curation.rules import Rules, TextRules
from picscribe.errors import ConfigurationError, MissingPackageError

pytest.importorskip("glin_profanity")
pytest.importorskip("py3langid")


@pytest.fixture(scope="module")
def texts() -> TextRules:
    return TextRules(Rules())


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a dog runs through the grass", ""),
        ("two men , one of them in a red hat , are talking .", ""),
        ("a girl on a swing and a big black dog", ""),
        ("a man wearing a t-shirt that says 5 < 6 > 4", ""),
        ("an assistant in a class assesses a cocktail", ""),
        ("<PERSON> at the beach on sunday", "tag"),
        ("the red carpet with <person> and friends", "tag"),
        ("a dog and a cat<br/>at home", "tag"),
        ("[NAME] plays the guitar on stage", "tag"),
        ("salt &amp; pepper on a table", "tag"),
        ("{FIRST_NAME} at the party with friends", "tag"),
        ("see more at https://dogs.example/17", "boilerplate"),
        ("more dogs on www.dogs.example today", "boilerplate"),
        ("write to dogs@dogs.example for more", "boilerplate"),
        ("IMG_2041 a dog in the grass", "boilerplate"),
        ("a dog in the grass stock photo", "boilerplate"),
        ("a dog in the grass © the artist", "boilerplate"),
        ("holiday.jpg of a dog in grass", "boilerplate"),
        ("dog", "length"),
        ("a dog", "length"),
        ("", "length"),
        (" . , ", "length"),
        ("a dog " * 40, "length"),
        ("what a shit day for this dog", "offensive"),
        ("what a SH1T day for this dog", "offensive"),
        ("a b1tch is walking down the street", "offensive"),
        ("ein hund läuft über die grüne wiese", "language"),
        ("собака бежит по зелёной траве", "language"),
        ("deux chiens jouent ensemble dans la neige", "language"),
    ],
)
def test_the_rule_that_a_text_breaks(text: str, rule: str, texts: TextRules) -> None:
    fault = texts.fault(text)
    assert (fault.rule if fault else "") == rule
    if fault:
        assert fault.what


def test_languages_and_words_are_chosen() -> None:
    german = TextRules(Rules(languages=("de", "en")))
    assert german.fault("ein hund läuft über die grüne wiese") is None
    assert german.fault("so ein arschloch von einem hund läuft herum") is not None
    own = TextRules(Rules(words=("poodle",)))
    assert own.fault("a p00dle runs through the grass").rule == "offensive"  # type: ignore[union-attr]
    assert own.fault("what a shit day for this dog") is None
    chinese = TextRules(Rules(languages=("zh",), skip=("offensive",)))
    assert chinese.fault("一只狗在草地上奔跑") is None


def test_skipped_rules_are_not_looked_at() -> None:
    texts = TextRules(Rules(skip=("tag", "language", "offensive", "length", "boilerplate")))
    assert texts.fault("<PERSON>") is None
    assert texts.offensive is texts.language is None


def test_offensive_words_are_masked(texts: TextRules) -> None:
    assert texts.masked("a dog runs") == "a dog runs"
    hidden = texts.masked("what a sh1t day and shit night")
    assert hidden == "what a s*** day and s*** night"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"skip": ("tags",)}, "no rule 'tags'"),
        ({"skip": ("broken",)}, "never skipped"),
        ({"languages": ()}, "at least one"),
        ({"languages": ("xx",)}, "no list of offensive words in 'xx'"),
        ({"fewest_words": 9, "most_words": 3}, "9 to 3 words"),
        ({"fewest_words": 0}, "0 to 60 words"),
        ({"hash_distance": 40}, "from 0 to 16"),
        ({"text_repeats": 0}, "at least 1"),
        ({"model": "nano"}, "goes with a model"),
        ({"least_score": -3.0}, "goes with a model"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Rules(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("module", ["glin_profanity", "py3langid.langid"])
def test_a_missing_library_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match="curate"):
        TextRules(Rules())

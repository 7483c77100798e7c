"""What texts are kept from a model, and what settings are refused."""

import math
import sys

import pytest

from picscribe.curation.rules import Rules, TextRules, count_words, words_of
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
        ("a dog and a < PERSON > at home", "tag"),
        ("a photo of <PERSON 2> on stage", "tag"),
        ("\uff1cPERSON\uff1e on a stage at night", "tag"),
        ("a dog <|endoftext|> and a cat", "tag"),
        ('a dog <a href="https://dogs.example/a/very/long/address/of/a/page/about/dogs">here</a>', "tag"),
        ("[PERSON_1] and [PERSON2] play guitar", "tag"),
        ("a portrait of [person] in red", "tag"),
        ("dear {{first_name}}, a dog in the grass", "tag"),
        ("a photo of %NAME% in the park", "tag"),
        ("a photo of __PERSON__ in the park", "tag"),
        ("it&#x27;s a dog in the grass", "tag"),
        ("a dog &Eacute; in the grass", "tag"),
        ("i <3 my dog , so cute -> look", ""),
        ("a board that says x<y and y>z", ""),
        ("fruit and vegetables for sale at an outdoor market", ""),
        ("two men in brackets [ sic ] in the park", ""),
        ("more dogs on bit.ly/3xyz today", "boilerplate"),
        ("more dogs from hunde.de for everybody", "boilerplate"),
        ("ftp://dogs.example/a a dog in grass", "boilerplate"),
        ("a dog in the park photo by @janedoe", "boilerplate"),
        ("a dog in the park #dog #love", "boilerplate"),
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
        ("two whores are standing in the street", "offensive"),
        ("these a55holes are standing in the street", "offensive"),
        ("a wh0re is standing in the street", "offensive"),
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
    turkish = TextRules(Rules(languages=("en", "tr")))
    assert turkish.fault("a dog is biting it and a boy has a ball on top") is None
    chinese = TextRules(Rules(languages=("zh",), skip=("offensive",)))
    assert chinese.fault("一只狗在草地上奔跑") is None


def test_scripts_without_spaces_and_with_vowel_signs() -> None:
    """Rude words are found within a Thai, Korean or Chinese sentence; words are not cut at vowel signs."""
    for code, sentence in (("th", "เขาพูดว่า{}กับเพื่อน"), ("ko", "그는 {}라고 말했다"), ("zh", "他对朋友说{}然后走了")):
        texts = TextRules(Rules(languages=(code,), skip=("language",)))
        rude = texts.unspaced[0]
        assert texts.fault(sentence.format(rude)).rule == "offensive"  # type: ignore[union-attr]
        assert rude not in texts.masked(sentence.format(rude))
        assert texts.fault(sentence.format("")) is None
    own = TextRules(Rules(languages=("zh",), words=("狗",), skip=("language",)))
    assert own.fault("一只狗在草地上奔跑").rule == "offensive"  # type: ignore[union-attr]
    assert words_of("लड़का पानी पी रहा है") != words_of("लड़की पानी पी रही है")
    assert [len(words_of(text)) for text in ("हिन्दी", "Élan vital", "が", "か")] == [1, 2, 1, 1]
    assert words_of("Élan") == words_of("elan") and words_of("が") != words_of("か")
    assert count_words("一只狗在草地上奔跑") == 5
    thai = "สุนัขสีน้ำตาลตัวใหญ่กำลังวิ่งเล่นอยู่บนสนามหญ้าสีเขียวข้างบ้านหลังเล็ก"
    assert 10 <= count_words(thai) <= 25


def test_skipped_rules_are_not_looked_at() -> None:
    texts = TextRules(Rules(skip=("tag", "language", "offensive", "length", "boilerplate")))
    assert texts.fault("<PERSON>") is None
    assert texts.offensive is texts.language is None


def test_offensive_words_are_masked(texts: TextRules) -> None:
    assert texts.masked("a dog runs") == "a dog runs"
    hidden = texts.masked("what a sh1t day and shit night")
    assert hidden == "what a s*** day and s*** night"
    assert "job" not in texts.masked("shit he gives a blow job"), "one of its own and one of two words"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"skip": ("tags",)}, "unknown rule 'tags'"),
        ({"skip": ("broken",)}, "cannot be skipped"),
        ({"languages": ()}, "at least one"),
        ({"languages": ("xx",)}, "no list of offensive words in 'xx'"),
        ({"fewest_words": 9, "most_words": 3}, "9 to 3 words"),
        ({"fewest_words": 0}, "0 to 60 words"),
        ({"hash_distance": 40}, "from 0 to 16"),
        ({"text_repeats": 0}, "at least 1"),
        ({"least_language": 2.0}, "from 0 to 1"),
        ({"model": "nano", "least_score": math.nan}, "must be a number"),
        ({"model": "nano"}, "needs a model"),
        ({"least_score": -3.0}, "needs a model"),
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


def test_a_language_that_cannot_be_told_is_named() -> None:
    with pytest.raises(ConfigurationError, match="'english'"):
        TextRules(Rules(languages=("english",), skip=("offensive",)))

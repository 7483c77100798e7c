"""What a pair of image and text must be like to be learned from: the rules, and those that a text alone decides.

Source: the "R" models of GIT were trained on CC12M without the captions that hold special tags or offensive words; the
other rules are what web data need besides.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from picscribe.errors import ConfigurationError, MissingPackageError

TEXT_RULES = ("tag", "boilerplate", "length", "offensive", "language")
IMAGE_RULES = ("broken", "small", "blank")
ORDER = (*IMAGE_RULES, "image-duplicate", *TEXT_RULES, "text-duplicate", "score")
"""Each pair falls to the first rule of these that it breaks."""

_PLACEHOLDER = (
    r"person|people|first[_ ]?name|last[_ ]?name|name|user(?:name)?|url|link|e-?mail|number|num|location|place|city|"
    r"country|date|time|org(?:ani[sz]ation)?|company|phone|address"
)
TAG = re.compile(
    r"<\s*[|/]?\s*[A-Za-z]\w*(?:[ _-]?\d+)?(?:\s+[\w:-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s<>\"']+))*\s*[|/]?\s*>"
    r"|<!--"
    rf"|\[\s*(?:[A-Z][A-Z_]+|(?i:{_PLACEHOLDER}))[ _]?\d*\s*\]|\{{\{{?\s*\w+\s*\}}"
    r"|%[A-Z][A-Z_]+%|__[A-Z][A-Z_]*\d*__|&(?:[A-Za-z][A-Za-z0-9]{1,9}|#\d{2,7}|#[xX][0-9A-Fa-f]{1,6});"
)
"""What web pages and their anonymisers leave in texts: <PERSON>, <br/>, [NAME], {{name}}, &amp;."""

BOILERPLATE = re.compile(
    r"\b[a-z][a-z0-9+.-]*://|\bwww\.|\b[\w.+-]+@[\w-]+\.\w{2,}|\b[\w-]+\.[a-z]{2,6}/\S"
    r"|\b[\w-]+\.(?:com|net|org|info|biz|io|de|fr|es|nl|pl|ru|jp|cn|eu|ca|au|uk|shop|store|html?|php|jpe?g|png|gif)\b"
    r"|\b(?:img|dsc|dscn|image|photo|pic)[_-]?\d{3,}\b|(?:^|\s)@\w{2,}|(?:#\w+[\s,]*){2,}"
    r"|\b(?:stock (?:photo|image|vector|illustration)|royalty[- ]free|all rights reserved|click here"
    r"|(?:photo|image) (?:by|credit|courtesy)|getty images|shutterstock|istock|free shipping|buy now|add to cart"
    r"|follow us on|copyright)\b|©|®",
    re.IGNORECASE,
)
"""Addresses, names of files and of accounts, and what sellers write."""

PLAIN = {
    "": ("girl on", "big black"), "es": ("concha",), "fr": ("bite", "chatte"), "it": ("uccello",), "pt": ("pau",),
    "tr": ("biting", "it", "top"),
}  # fmt: skip
"""Of the lists of words, by language: what is said of ordinary photos, such as a girl on a swing, a ball, a bird."""

ALSO_RUDE = (
    "biatch", "chink", "dickhead", "fag", "faggot", "gook", "kike", "nigga", "retard", "spic", "tranny", "whore",
)  # fmt: skip
"""What the English list lacks."""

LANGUAGES = {
    "ar": "arabic", "cs": "czech", "da": "danish", "de": "german", "en": "english", "eo": "esperanto", "es": "spanish",
    "fa": "persian", "fi": "finnish", "fr": "french", "hi": "hindi", "hu": "hungarian", "it": "italian",
    "ja": "japanese", "ko": "korean", "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese",
    "ru": "russian", "sv": "swedish", "th": "thai", "tr": "turkish", "zh": "chinese",
}  # fmt: skip
"""Languages of which there are lists of offensive words."""


@dataclass(frozen=True)
class Rules:
    """Thresholds; a rule is left out by naming it in `skip`.

    languages: of the texts that stay, by their codes; offensive words of all of them are looked for. words: instead of
    the lists, these. fewest_words, most_words: of a text. least_language: the probability below which a text is of
    none of the languages. smallest_side: pixels. hash_distance: bits, of 64, in which the perceptual hashes of near
    duplicates differ at most. text_repeats: so many images may have the same text. least_score: nats a token, on
    average, that `model` must give a text; None without a model.
    """

    languages: tuple[str, ...] = ("en",)
    words: tuple[str, ...] = ()
    fewest_words: int = 3
    most_words: int = 60
    least_language: float = 0.02
    smallest_side: int = 64
    hash_distance: int = 4
    text_repeats: int = 3
    model: str = ""
    least_score: float | None = None
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unknown := [rule for rule in self.skip if rule not in ORDER]:
            raise ConfigurationError(f"unknown rule {unknown[0]!r}: choose among {', '.join(ORDER)}")
        if "broken" in self.skip:
            raise ConfigurationError(
                "the rule broken cannot be skipped, because nothing can be learned from such photos: leave it out"
            )
        if not self.languages:
            raise ConfigurationError("languages: name at least one, such as en")
        if "offensive" not in self.skip and not self.words:
            for code in self.languages:
                if code not in LANGUAGES:
                    raise ConfigurationError(
                        f"there is no list of offensive words in {code!r}: give a file of them (--words), or skip the "
                        f"rule offensive; there are lists in {', '.join(LANGUAGES)}"
                    )
        if not 1 <= self.fewest_words <= self.most_words:
            raise ConfigurationError(f"texts cannot have {self.fewest_words} to {self.most_words} words")
        if not 0 <= self.hash_distance <= 16:
            raise ConfigurationError(f"hash_distance must be from 0 to 16 bits, not {self.hash_distance}")
        if self.text_repeats < 1 or self.smallest_side < 1:
            raise ConfigurationError(
                f"text_repeats ({self.text_repeats}) and smallest_side ({self.smallest_side}) must be at least 1"
            )
        if not 0 <= self.least_language <= 1:
            raise ConfigurationError(f"least_language is a probability, from 0 to 1, not {self.least_language}")
        if self.least_score is not None and not math.isfinite(self.least_score):
            raise ConfigurationError(f"least_score must be a number, not {self.least_score}")
        if bool(self.model) != (self.least_score is not None):
            raise ConfigurationError("least_score needs a model to score with: give both, or neither")

    def uses(self, rule: str) -> bool:
        """Whether a rule is looked at."""
        return rule not in self.skip and (rule != "score" or bool(self.model))


@dataclass(frozen=True)
class Fault:
    """The rule that a pair breaks, and what of it: a word, a size, the id of an earlier image."""

    rule: str
    what: str


class TextRules:
    """Looks at texts alone. Raises MissingPackageError where a library is not installed, ConfigurationError for a
    language that is not known."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.offensive = _word_filter(rules) if rules.uses("offensive") else None
        self.unspaced = _unspaced_words(rules) if rules.uses("offensive") else ()
        self.language = _language_model() if rules.uses("language") else None
        if self.language is not None:
            for code in rules.languages:
                if code not in self.language.nb_classes:
                    known = ", ".join(self.language.nb_classes)
                    raise ConfigurationError(f"unknown language {code!r}: choose among {known}")

    def fault(self, text: str) -> Fault | None:
        """The first rule that a text breaks."""
        for rule in TEXT_RULES:
            if self.rules.uses(rule) and (what := getattr(self, f"_{rule}")(text)):
                return Fault(rule, what)
        return None

    def masked(self, text: str) -> str:
        """The text, of offensive words only the first letter."""
        if not self._offensive(text):
            return text
        rude = {word for word in text.split() if self._offensive(word)}
        if self._offensive(" ".join(word for word in text.split() if word not in rude)):
            return "*" * 8  # words that are offensive only together
        return " ".join(word[0] + "*" * (len(word) - 1) if word in rude else word for word in text.split())

    def _tag(self, text: str) -> str:
        found = TAG.search(unicodedata.normalize("NFKC", text))
        return found.group() if found else ""

    def _boilerplate(self, text: str) -> str:
        found = BOILERPLATE.search(unicodedata.normalize("NFKC", text))
        return found.group() if found else ""

    def _length(self, text: str) -> str:
        count = count_words(text)
        return "" if self.rules.fewest_words <= count <= self.rules.most_words else f"{count} words"

    def _offensive(self, text: str) -> str:
        if self.offensive is None:
            return ""
        found = list(self.offensive.check_profanity(text)["profane_words"])
        return ", ".join(found or [word for word in self.unspaced if word in text])

    def _language(self, text: str) -> str:
        assert self.language is not None
        ranked = self.language.rank(text)
        wanted = sum(float(probability) for code, probability in ranked if code in self.rules.languages)
        return "" if wanted >= self.rules.least_language else str(ranked[0][0])


UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff"
"""Characters of scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Chinese and Japanese."""

MARKS = "".join(chr(c) for c in range(0x900, 0xE00) if unicodedata.category(chr(c)).startswith("M"))
"""Vowel signs of the scripts of India, which occur inside words."""

WORD = re.compile(rf"[{UNSPACED}]|(?:[^\W_{UNSPACED}]|[{MARKS}])+")
ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed]")
"""What Latin, Greek, Cyrillic, Hebrew and Arabic letters are often written without."""


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, lower case, without accents; characters, where a script has no spaces."""
    plain = ACCENTS.sub("", unicodedata.normalize("NFKD", text).casefold())
    return WORD.findall(unicodedata.normalize("NFKC", plain))


def count_words(text: str) -> int:
    """Words, of a script without spaces about as many as it has: two characters a word, three letters of Thai."""
    words = words_of(text)
    unspaced = [word for word in words if re.fullmatch(f"[{UNSPACED}]", word) and not unicodedata.combining(word)]
    han = sum(word >= "\u2e80" for word in unspaced)
    return (
        len(words)
        - sum(bool(re.fullmatch(f"[{UNSPACED}]", w)) for w in words)
        + math.ceil(han / 2 + (len(unspaced) - han) / 3)
    )


def _word_filter(rules: Rules) -> Any:
    try:
        from glin_profanity import Filter
        from glin_profanity.data.dictionary import dictionary
    except ImportError as error:
        raise _missing("glin-profanity") from error
    languages = [LANGUAGES[code] for code in rules.languages if code in LANGUAGES] or ["english"]
    plain = [word for code in ("", *rules.languages) for word in PLAIN.get(code, ())]
    settings: dict[str, Any] = {"languages": languages, "detect_leetspeak": True, "ignore_words": plain}
    if rules.words:
        kept = {word.casefold() for word in rules.words}
        listed = [word for language in languages for word in dictionary.get_words(language)]
        settings["ignore_words"] = [word for word in listed if word.casefold() not in kept]
        settings["custom_words"] = list(rules.words)
    elif "english" in languages:
        known = [*dictionary.get_words("english"), *ALSO_RUDE]
        settings["custom_words"] = [*ALSO_RUDE, *(many for word in known for many in _plurals(word))]
    return Filter(settings)


def _plurals(word: str) -> Iterator[str]:
    """What an English noun of letters alone may be in the plural."""
    if word.isascii() and word.isalpha() and len(word) > 2 and not word.endswith("s"):
        yield word + "s"
        if word.endswith("y"):
            yield word[:-1] + "ies"


def _unspaced_words(rules: Rules) -> tuple[str, ...]:
    """Words looked for inside others, since nothing separates words, or particles are written on to them:
    of Chinese, Japanese, Korean and Thai; two characters at least, three of kana, which are part of many a word.
    """
    from glin_profanity.data.dictionary import dictionary

    codes = [code for code in ("ja", "ko", "th", "zh") if code in rules.languages]
    words = rules.words or [word for code in codes for word in dictionary.get_words(LANGUAGES[code])]
    within = re.compile(f"[{UNSPACED}\uac00-\ud7af]+")
    kana = re.compile("[\u3040-\u30ff]{2}")
    return tuple(w for w in words if within.fullmatch(w) and (rules.words or (len(w) > 1 and not kana.fullmatch(w))))


def _language_model() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise _missing("py3langid") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _missing(package: str) -> MissingPackageError:
    return MissingPackageError(f'curating needs the package {package}: pip install "picscribe[curate]"')

"""What a pair of image and text must be like to be learned from: the rules, and those that a text alone decides.

Source: the "R" models of GIT were trained on CC12M without the captions that hold special tags or offensive words; the
other rules are what web data need besides.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from picscribe.errors import ConfigurationError, MissingPackageError

TEXT_RULES = ("tag", "boilerplate", "length", "offensive", "language")
IMAGE_RULES = ("broken", "small", "blank")
ORDER = (*IMAGE_RULES, "image-duplicate", *TEXT_RULES, "text-duplicate", "score")
"""Each pair falls to the first rule of these that it breaks."""

TAG = re.compile(r"<[^<>\s][^<>\n]{0,60}>|\[[A-Z_]{2,}\]|\{[A-Z_]{2,}\}|&(?:[a-z]{2,8}|#\d{2,5});")
"""What web pages and their anonymisers leave in texts: <PERSON>, <br/>, [NAME], &amp;."""

BOILERPLATE = re.compile(
    r"https?://|\bwww\.|\b[\w.+-]+@[\w-]+\.\w{2,}|\b[\w-]+\.(?:com|net|org|info|co\.uk|html?|php|jpe?g|png|gif)\b"
    r"|\b(?:img|dsc|dscn|image|photo|pic)[_-]?\d{3,}\b"
    r"|\b(?:stock (?:photo|image|vector|illustration)|royalty[- ]free|all rights reserved|click (?:here|to)"
    r"|getty images|shutterstock|istock|free shipping|buy now|for sale|add to cart|follow us|copyright)\b|©|®",
    re.IGNORECASE,
)
"""Addresses, names of files, and what sellers write."""

PLAIN_PHRASES = ("girl on", "big black")
"""Of the lists of words: what is said of ordinary photos, such as a girl on a swing, a big black dog."""

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
            raise ConfigurationError(f"there is no rule {unknown[0]!r}; there are {', '.join(ORDER)}")
        if "broken" in self.skip:
            raise ConfigurationError("a photo that cannot be opened cannot stay: the rule broken is never skipped")
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
            raise ConfigurationError("text_repeats and smallest_side must be at least 1")
        if bool(self.model) != (self.least_score is not None):
            raise ConfigurationError("a least score goes with a model to score with: give both or none")

    def uses(self, rule: str) -> bool:
        """Whether a rule is looked at."""
        return rule not in self.skip and (rule != "score" or bool(self.model))


@dataclass(frozen=True)
class Fault:
    """The rule that a pair breaks, and what of it: a word, a size, the id of an earlier image."""

    rule: str
    what: str


class TextRules:
    """Looks at texts alone. Raises MissingPackageError where a library is not installed."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.offensive = _word_filter(rules) if rules.uses("offensive") else None
        self.language = _language_model() if rules.uses("language") else None

    def fault(self, text: str) -> Fault | None:
        """The first rule that a text breaks."""
        for rule in TEXT_RULES:
            if self.rules.uses(rule) and (what := getattr(self, f"_{rule}")(text)):
                return Fault(rule, what)
        return None

    def masked(self, text: str) -> str:
        """The text, of offensive words only the first letter."""
        if self.offensive is None or not self.offensive.is_profane(text):
            return text
        hidden = [w[0] + "*" * (len(w) - 1) if self.offensive.is_profane(w) else w for w in text.split()]
        return " ".join(hidden) if hidden != text.split() else "*" * 8  # words that are offensive only together

    def _tag(self, text: str) -> str:
        found = TAG.search(text)
        return found.group() if found else ""

    def _boilerplate(self, text: str) -> str:
        found = BOILERPLATE.search(text)
        return found.group() if found else ""

    def _length(self, text: str) -> str:
        count = len(words_of(text))
        return "" if self.rules.fewest_words <= count <= self.rules.most_words else f"{count} words"

    def _offensive(self, text: str) -> str:
        found = self.offensive.check_profanity(text)["profane_words"] if self.offensive else []
        return ", ".join(found)

    def _language(self, text: str) -> str:
        assert self.language is not None
        ranked = self.language.rank(text)
        wanted = sum(float(probability) for code, probability in ranked if code in self.rules.languages)
        return "" if wanted >= self.rules.least_language else str(ranked[0][0])


UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff"
"""Characters of scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Chinese and Japanese."""

WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, lower case, without accents; characters, where a script has no spaces."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return WORD.findall("".join(c for c in plain if not unicodedata.combining(c)))


def _word_filter(rules: Rules) -> Any:
    try:
        from glin_profanity import Filter
        from glin_profanity.data.dictionary import dictionary
    except ImportError as error:
        raise _missing("glin-profanity") from error
    languages = [LANGUAGES[code] for code in rules.languages if code in LANGUAGES] or ["english"]
    settings: dict[str, Any] = {"languages": languages, "detect_leetspeak": True, "ignore_words": list(PLAIN_PHRASES)}
    if rules.words:
        kept = {word.casefold() for word in rules.words}
        listed = [word for language in languages for word in dictionary.get_words(language)]
        settings["ignore_words"] = [word for word in listed if word.casefold() not in kept]
        settings["custom_words"] = list(rules.words)
    return Filter(settings)


def _language_model() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise _missing("py3langid") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _missing(package: str) -> MissingPackageError:
    return MissingPackageError(f'curating needs the package {package}: pip install "picscribe[curate]"')

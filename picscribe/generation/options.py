"""What to generate, as one frozen object that command line, server and bulk captioning all build."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from picscribe.errors import ConfigurationError

Scoring = Literal["git", "transformers"]
MOST_BEAMS = 256


@dataclass(frozen=True)
class GenerationOptions:
    """Options of a search; the defaults are the original code's: 4 beams, ((5 + length) / 6)^0.6 (paper, section 4.1).

    beams: at most 256; 1 is greedy search, which has no use for `length_penalty` and `scoring`.
    max_new_tokens, min_new_tokens: of the caption, not counting the prompt, [CLS] and [SEP].
    num_captions: how many to return an image, best first; at most `beams`.
    length_penalty: exponent of the length in the score; larger favours longer captions.
    scoring: "git" as the original code ranks and stops, "transformers" as that library does.
    no_repeat_ngram: no group of so many tokens comes twice; 0 allows all.
    no_immediate_repeat: never the token just produced, as in the original's greedy search.
    banned_words: words or phrases that a caption must not hold, in any of the first 256 ways to spell them in pieces of
        the vocabulary; a longer word that begins with such a spelling ("dog" and then "##gy") is banned with it.
    special_tokens: whether [PAD], [UNK], [unused1] … may be produced, as in the original code; for exact parity only.
    """

    beams: int = 4
    max_new_tokens: int = 20
    min_new_tokens: int = 0
    num_captions: int = 1
    length_penalty: float = 0.6
    scoring: Scoring = "git"
    no_repeat_ngram: int = 0
    no_immediate_repeat: bool = False
    banned_words: tuple[str, ...] = ()
    special_tokens: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("beams", 1),
            ("max_new_tokens", 1),
            ("min_new_tokens", 0),
            ("num_captions", 1),
            ("no_repeat_ngram", 0),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {value!r}")
        if self.beams > MOST_BEAMS:
            raise ConfigurationError(f"beams must be at most {MOST_BEAMS}, not {self.beams}")
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigurationError(
                f"min_new_tokens ({self.min_new_tokens}) is more than max_new_tokens ({self.max_new_tokens})"
            )
        if self.num_captions > self.beams:
            raise ConfigurationError(
                f"num_captions ({self.num_captions}) is more than beams ({self.beams}): ask for at least as many beams"
            )
        penalty = self.length_penalty
        if not isinstance(penalty, int | float) or isinstance(penalty, bool) or not -10 <= penalty <= 10:
            raise ConfigurationError(f"length_penalty must be a number from -10 to 10, not {penalty!r}")
        if self.scoring not in get_args(Scoring):
            raise ConfigurationError(f"scoring must be one of {', '.join(get_args(Scoring))}, not {self.scoring!r}")
        for name in ("no_immediate_repeat", "special_tokens"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name} must be True or False, not {getattr(self, name)!r}")
        self._check_banned_words()

    def _check_banned_words(self) -> None:
        words = self.banned_words
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word.strip() for word in words):
            raise ConfigurationError(f"banned_words must be a list of words, none empty, not {words!r}")
        object.__setattr__(self, "banned_words", tuple(words))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every option's name."""
        return tuple(field.name for field in fields(cls))

"""What to generate, as one frozen object that command line, server and bulk captioning all build."""

import math
import operator
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, Literal, TypedDict, get_args

from picscribe.errors import ConfigurationError

Scoring = Literal["git", "transformers"]
MOST_BEAMS = 256
COLDEST = 0.00001
"""Below this temperature every draw is the likeliest token, and numbers overflow."""


class OptionFields(TypedDict, total=False):
    """The fields of `GenerationOptions` as they may be given by name."""

    beams: int
    max_new_tokens: int
    min_new_tokens: int
    num_captions: int
    length_penalty: float
    scoring: Scoring
    no_repeat_ngram: int
    no_immediate_repeat: bool
    banned_words: Sequence[str]
    special_tokens: bool
    required_words: Sequence[str]
    repetition_penalty: float
    temperature: float
    top_k: int
    top_p: float
    seed: int
    own_draws: bool
    beam_groups: int
    diversity_penalty: float


@dataclass(frozen=True)
class GenerationOptions:
    """Options of a search; the defaults are the original code's: 4 beams, ((5 + length) / 6)^0.6 (paper, section 4.1).

    beams: at most 256; 1 is greedy search, which takes no `length_penalty` and `scoring`.
    max_new_tokens, min_new_tokens: of the caption, not counting the prompt, [CLS] and [SEP].
    num_captions: how many to return an image, best first; at most `beams`.
    length_penalty: exponent of the length in the score; larger favours longer captions.
    scoring: "git" as the original code ranks and stops, "transformers" as that library does.
    no_repeat_ngram: no group of so many tokens comes twice; 0 allows all.
    no_immediate_repeat: never the token just produced, as in the original's greedy search.
    banned_words: words or phrases that a caption must not hold, in any of the first 256 ways to spell them in pieces of
        the vocabulary; a longer word that begins with such a spelling ("dog" and then "##gy") is banned with it.
    required_words: words or phrases that a caption must hold, as the tokenizer spells them; with several beams only.
    repetition_penalty: logits of tokens already in the text are divided by it (multiplied if negative); 1 for none.
    temperature: 0 searches; above, tokens are drawn, and `num_captions` counts samples. Below 1 likely words become
        likelier still; at least 0.00001. Beams, their groups, penalty and scoring do not go with it.
    top_k, top_p: draw from so many of the likeliest tokens (0 for all), and from the likeliest that together have so
        much of the probability (1 for all).
    seed: of what is drawn. The same for every image, so that a caption does not depend on the rest of its batch.
    own_draws: each text of a batch gets draws of its own instead, by its place in it: what learns from samples must not
        draw all of them by the same few numbers.
    beam_groups, diversity_penalty: beams in so many groups, each of which is kept from the words of those before it.
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
    required_words: tuple[str, ...] = ()
    repetition_penalty: float = 1.0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    own_draws: bool = False
    beam_groups: int = 1
    diversity_penalty: float = 0.5

    def __post_init__(self) -> None:
        for name, least in (
            ("beams", 1),
            ("max_new_tokens", 1),
            ("min_new_tokens", 0),
            ("num_captions", 1),
            ("no_repeat_ngram", 0),
            ("top_k", 0),
            ("seed", 0),
            ("beam_groups", 1),
        ):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))
        if self.beams > MOST_BEAMS:
            raise ConfigurationError(f"beams must be at most {MOST_BEAMS}, not {self.beams}")
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigurationError(
                f"min_new_tokens ({self.min_new_tokens}) is more than max_new_tokens ({self.max_new_tokens}): lower it"
            )
        for name, lowest, highest in (
            ("length_penalty", -10, 10),
            ("repetition_penalty", 0.01, 100),
            ("temperature", 0, 100),
            ("top_p", 0.0001, 1),
            ("diversity_penalty", 0, 100),
        ):
            given = getattr(self, name)
            number = float(given) if isinstance(given, Real) and not isinstance(given, bool) else math.nan
            if not lowest <= number <= highest:
                raise ConfigurationError(f"{name} must be a number from {lowest} to {highest}, not {given!r}")
            object.__setattr__(self, name, number)
        if 0 < self.temperature < COLDEST:
            raise ConfigurationError(
                f"temperature must be 0, for a search, or at least {COLDEST:f}, not {self.temperature!r}"
            )
        if self.scoring not in get_args(Scoring):
            raise ConfigurationError(f"scoring must be one of {', '.join(get_args(Scoring))}, not {self.scoring!r}")
        for name in ("no_immediate_repeat", "own_draws", "special_tokens"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name} must be True or False, not {getattr(self, name)!r}")
        for name in ("banned_words", "required_words"):
            words = getattr(self, name)
            if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word.strip() for word in words):
                raise ConfigurationError(f"{name} must be a list of words that are not empty, not {words!r}")
            object.__setattr__(self, name, tuple(words))
        if self.seed >= 2**63:
            raise ConfigurationError(f"seed must be below 2**63, not {self.seed}")
        self._check_together()
        self._check_effect()

    def _check_together(self) -> None:
        """Raise ConfigurationError for options that contradict each other."""
        if self.temperature:
            if self.num_captions > MOST_BEAMS:
                raise ConfigurationError(f"num_captions must be at most {MOST_BEAMS}, not {self.num_captions}")
            if self.required_words:
                raise ConfigurationError("required_words need a beam search: leave out temperature")
            if self.beam_groups > 1:
                raise ConfigurationError("beam_groups need a beam search: leave out temperature")
            return
        if self.top_k or self.top_p < 1:
            raise ConfigurationError("top_k and top_p are for sampling: set temperature above 0, such as 1")
        if self.num_captions > self.beams:
            raise ConfigurationError(
                f"num_captions ({self.num_captions}) is more than beams ({self.beams}): ask for at least as many beams"
            )
        if self.required_words and self.beams < 2:
            raise ConfigurationError("required_words need a beam search: ask for at least 2 beams")
        if self.beams % self.beam_groups:
            raise ConfigurationError(f"beams ({self.beams}) must be a multiple of beam_groups ({self.beam_groups})")
        if self.beam_groups > 1 and self.required_words:
            raise ConfigurationError("required_words and beam_groups do not go together: choose one")

    def _check_effect(self, given: Container[str] = ()) -> None:
        """Raise ConfigurationError for options that would have no effect; `given` are set, be it to their defaults."""

        def refuse(names: Sequence[str], why: str) -> None:
            for name in names:
                if name in given or getattr(self, name) != getattr(type(self), name):
                    raise ConfigurationError(f"{name} has no effect {why}")

        if self.temperature:
            if self.beams > 1:
                refuse(["beams"], "on sampling: leave it or temperature out")
            refuse(["length_penalty", "scoring"], "on sampling: leave it or temperature out")
        else:
            refuse(["seed", "own_draws"], "on a search: set temperature, or leave it out")
            if self.beams == 1:
                # Only where they are given with it: an object's settings may serve greedy search for once.
                names = [name for name in ("length_penalty", "scoring") if name in given]
                refuse(names, "on greedy search: set beams above 1, or leave it out")
        if self.beam_groups == 1:
            refuse(["diversity_penalty"], "without beam_groups: set them to at least 2, or leave it out")

    @property
    def lines(self) -> int:
        """Texts that grow side by side for one prompt: beams or samples."""
        return self.num_captions if self.temperature else self.beams

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every option's name."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def choose(cls, options: "GenerationOptions | None", fields: Mapping[str, Any]) -> "GenerationOptions":
        """`options`, or the defaults, with `fields` on top. Raises ConfigurationError for a name that is none."""
        if options is not None and not isinstance(options, cls):
            raise ConfigurationError(f"options must be a GenerationOptions, not {type(options).__name__}")
        if unknown := sorted(set(fields) - set(cls.names())):
            raise ConfigurationError(f"unknown option {', '.join(unknown)}; known are {', '.join(cls.names())}")
        chosen = replace(options or cls(), **fields)
        chosen._check_effect(fields)
        return chosen


def whole_number(name: str, value: object, least: int) -> int:
    """`value` as an int, NumPy's too. Raises ConfigurationError for what is none, and for one below `least`."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return number

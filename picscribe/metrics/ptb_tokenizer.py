"""Splits captions into words as Stanford's PTBTokenizer 3.4.1 and pycocoevalcap together do, without Java.

What it reproduces is `PTBTokenizer -preserveLines -lowerCase` followed by pycocoevalcap's list of tokens to leave
out. The rules (ptb_rules.py) come from comparing answers and from what is generally known of that tokenizer's token
classes. As there, the longest match wins and of equally long ones the first rule; what a rule looks at beyond its token
counts towards its length. One thing differs on purpose: each caption is tokenised separately, whereas Stanford's looks
on into the next line, so that there a caption's last word may depend on the caption that follows it.

People write mostly words of letters, commas and full stops. What such a piece between two spaces becomes does not
depend on its neighbours, so it is looked up (`_words_alone`); a caption with any other piece takes the rules.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from sys import intern

from picscribe.metrics.ptb_characters import LINE_BREAKS, NO_BREAK_SPACE, WIDE_SPACE, outline
from picscribe.metrics.ptb_rules import RULES, Rule, may_abbreviate

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""pycocoevalcap's list. Its brackets are upper-case and the tokens lower-case, so "-lrb-" stays, as a word."""

_CUT_IN_TWO = frozenset(["cannot", "gonna", "gotta", "wanna", "gimme", "lemme"])
_LETTERS = re.compile(r"[A-Za-z]+(?=[ \t]|$)")
_ALONE = re.compile(r"([A-Za-z]+(?:-[A-Za-z]+)*)('s)?([.,;:!?]?)|('s)|[.,;:!?\"'-]")
_UNBROKEN = str.maketrans(dict.fromkeys(LINE_BREAKS, " "))
_SPACES = re.compile(f"(?:[ \\t][ \\t{NO_BREAK_SPACE}{WIDE_SPACE}]*)?")


def tokenize(caption: str) -> list[str]:
    """The caption's words, lower-case; any line break in it counts as a space.

    A fraction or telephone number that Stanford's tokenizer takes as one word holds no-break spaces ("2\u00a01/2").
    """
    words = list(map(_words_alone, caption.split(" ")))
    return _tokenize_by_rules(caption) if None in words else list(chain.from_iterable(words))  # type: ignore[arg-type]


@lru_cache(maxsize=1 << 16)
def _words_alone(piece: str) -> tuple[str, ...] | None:
    """What is left of a piece between two spaces, or None where that takes the rules or depends on its neighbours."""
    if not piece:
        return ()
    match = _ALONE.fullmatch(piece)
    if match is None:
        return None
    word, possessive, end, possessive_alone = match.groups()
    if word is None:
        return (possessive_alone,) if possessive_alone else ()
    word = intern(word.lower())
    if word in _CUT_IN_TWO or (end == "." and may_abbreviate(word)):
        return None
    return (word, "'s") if possessive else (word,)


def _tokenize_by_rules(caption: str) -> list[str]:
    """`tokenize` without looking anything up."""
    tokens = list(_tokens(caption.translate(_UNBROKEN)))
    if tokens:
        tokens[-1] = tokens[-1].rstrip()  # pycocoevalcap strips the line
    return [intern(token) for token in tokens if token and token not in PUNCTUATION]


def _tokens(caption: str) -> Iterable[str]:
    shape = outline(caption)
    position = _SPACES.match(shape).end()  # type: ignore[union-attr]
    while position < len(shape):
        plain = _LETTERS.match(shape, position)
        if plain and (word := plain.group().lower()) not in _CUT_IN_TWO:
            token, position = word, plain.end()
        else:
            token, position = _next_token(caption, shape, position)
        if token:
            yield token
        position = _SPACES.match(shape, position).end()  # type: ignore[union-attr]


@lru_cache(maxsize=256)
def _rules_for(first: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if rule.starts is None or first in rule.starts)


def _next_token(caption: str, shape: str, position: int) -> tuple[str, int]:
    """The token at `position`, rewritten and lower-case ("" where the character is none), and where it ends."""
    longest, end, chosen = 0, position + 1, None
    for rule in _rules_for(shape[position]):
        match = rule.pattern.match(shape, position)
        if match and (length := max(match.end(), match.end(match.lastgroup or 0)) - position) > longest:
            longest, end, chosen = length, match.end(), rule
    if chosen is None:
        return "", end
    return _lower_case(chosen.rewrite(caption[position:end])), end


def _lower_case(token: str) -> str:
    """As Java's: its final sigma looks for cased letters in the whole word, Python's only next to it."""

    def sigma(match: re.Match[str]) -> str:
        before, after = token[: match.start()], token[match.end() :]
        return "ς" if before.lower() != before.upper() and after.lower() == after.upper() else "σ"

    return re.sub("Σ", sigma, token).lower()

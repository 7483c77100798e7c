"""Splits captions into words as Stanford's PTBTokenizer 3.4.1 and pycocoevalcap together do, without Java.

What it reproduces is `PTBTokenizer -preserveLines -lowerCase` followed by pycocoevalcap's list of tokens to leave
out. The rules (ptb_rules.py) come from comparing answers and from what is generally known of that tokenizer's token
classes. As there, the longest match wins and of equally long ones the first rule; what a rule looks at beyond its token
counts towards its length. One thing differs on purpose: each caption stands alone, where Stanford's looks on into the
next line, so that there a caption's last word may depend on the caption that follows it.
"""

import re
from functools import lru_cache
from sys import intern

from picscribe.evaluation.ptb_characters import outline
from picscribe.evaluation.ptb_rules import RULES, Rule

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""pycocoevalcap's list. Its brackets are upper-case and the tokens lower-case, so "-lrb-" stays, as a word."""

_CUT_IN_TWO = frozenset(["cannot", "gonna", "gotta", "wanna", "gimme", "lemme"])
_PLAIN = re.compile(r"[A-Za-z]+(?= |$)")
_SPACES = re.compile(" *")


def tokenize(caption: str) -> list[str]:
    """The caption's words, lower-case; any line break in it counts as a space.

    A fraction or telephone number that Stanford's tokenizer takes as one word holds no-break spaces ("2\u00a01/2").
    """
    shape = outline(caption)
    tokens: list[str] = []
    position = _SPACES.match(shape).end()  # type: ignore[union-attr]
    while position < len(shape):
        plain = _PLAIN.match(shape, position)
        if plain and (word := plain.group().lower()) not in _CUT_IN_TWO:
            token, position = word, plain.end()
        else:
            token, position = _next_token(caption, shape, position)
        if token and token not in PUNCTUATION:
            tokens.append(intern(token))
        position = _SPACES.match(shape, position).end()  # type: ignore[union-attr]
    return tokens


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
    return chosen.rewrite(caption[position:end]).lower(), end

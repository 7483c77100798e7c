"""What kind each character is to the Stanford PTB tokenizer, so that its rules can be written over a small alphabet.

`outline` draws a caption character by character: ASCII as it is, any other letter as LETTER and so on. Rules match
the outline, tokens are cut from the caption. The ranges were measured: every character of the basic plane was put
through PTBTokenizer 3.4.1 alone, within letters and within digits.
"""

import unicodedata
from functools import lru_cache

LETTER, MARK, SYMBOL, DROPPED = "\u00e9", "\u0301", "\u00a7", "\u0000"
HYPHEN = "\u2010"
APOSTROPHE = "\u2019"
"""How the outline draws a curled closing quote; the opening ones are OPENING."""
OPENING = "\u2018"
QUOTE = "\u201c"
DASH = "\u2014"
SOFT_HYPHEN = "\u00ad"

_SPECIAL = {
    **dict.fromkeys("\u2010\u2011\u058a", HYPHEN),
    **dict.fromkeys("\u0092\u2019", APOSTROPHE),
    **dict.fromkeys("\u0091\u2018\u201b\u2039\u203a", OPENING),
    **dict.fromkeys("\u0093\u0094\u201c\u201d\u00ab\u00bb", QUOTE),
    **dict.fromkeys("\u0096\u0097\u2013\u2014\u2015", DASH),
    **dict.fromkeys("\u0085\u00a0\u2028\u2029", " "),
    **{
        character: character
        for character in "\u0080\u00a2\u00a3\u00a4\u00ad\u00bc\u00bd\u00be\u2026\u2044\u20a0\u20ac\u2153\u2154"
    },
}

_MARKS = """
    2c2-2c5 2d2-2df 2e5-2eb 2ed 2ef-36f 375 378-379 384-385 3f6 483-487 55a-55f 591-5bd 5bf 5c1-5c2
    5c4-5c5 5c7 615-61a 64b-65e 670 6d6-6e4 6e7-6ed 6fd-6fe 70f 711 730-74c 7a6-7b0 7eb-7f3 900-903 93c
    93e-94e 951-955 962-963 981-983 9bc 9be-9c4 9c7-9c8 9cb-9cd 9d7 9e2-9e3 a01-a03 a3c a3e-a4f a81-a83
    abc abe-acf b82 bbe-bc2 bc6-bc8 bca-bcd c01-c03 c3e-c56 d3e-d44 d46-d48 e31 e34-e3a e47-e4e eb1
    eb4-ebc ec8-ecd
"""
_SYMBOLS = """
    a1 a5-a9 ac ae-b4 b6-b9 bf d7 f7 37e 387 589 5be 5c0 5c3 5c6 5f3-5f4 600-603 606-60c 614 61b 61e-61f
    66a 66d 6d4 700-70d 7f6-7f8 964-965 e3f e4f 1fbd 2016-2017 201a 201e-2023 2030-2038 203b 203e-2042
    2070 2074-207e 2080-208e 20a4 2100-2101 2103-2106 2108-2109 2114 2116-2118 211e-2123 2125 2127 2129
    212e 213a-213b 2140-2144 214a-214d 214f 2155-215e 2190-2bff 3001-3002 3012 30fb ff01-ff0f ff1a-ff20
    ff3b-ff40 ff5b-ff65 ffe0-ffe1 ffe5-ffe6
"""


def _within(ranges: str) -> frozenset[int]:
    bounds = [part.split("-") for part in ranges.split()]
    return frozenset(code for bound in bounds for code in range(int(bound[0], 16), int(bound[-1], 16) + 1))


_MARK_CODES, _SYMBOL_CODES = _within(_MARKS), _within(_SYMBOLS)


@lru_cache(maxsize=4096)
def _draw(character: str) -> str:
    code = ord(character)
    if code < 0x80:
        return " " if character.isspace() else character if code >= 0x20 and code != 0x7F else DROPPED
    if character in _SPECIAL:
        return _SPECIAL[character]
    if code > 0xFFFF:
        return DROPPED
    if code in _MARK_CODES:
        return MARK
    if code in _SYMBOL_CODES:
        return SYMBOL
    category = unicodedata.category(character)
    return LETTER if category.startswith("L") or category == "Nd" else DROPPED


def outline(caption: str) -> str:
    """The caption with each character replaced by what stands for its kind; as long as the caption."""
    return "".join(map(_draw, caption))

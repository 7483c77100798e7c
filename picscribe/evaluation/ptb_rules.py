"""The rules of the Stanford PTB tokenizer as `tokenize` applies them: what is one token, and how it is then spelt."""

import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from picscribe.evaluation.ptb_characters import (
    APOSTROPHE,
    DROPPED,
    HYPHEN,
    LETTER,
    MARK,
    OPENING,
    QUOTE,
    SOFT_HYPHEN,
)

_LETTERS = string.ascii_letters
_ALPHANUMERIC = _LETTERS + string.digits
_ANY_LETTER = _LETTERS + LETTER + MARK + SOFT_HYPHEN

_L = f"[A-Za-z{LETTER}{MARK}{SOFT_HYPHEN}]"
_N = f"[0-9A-Za-z{LETTER}{MARK}{SOFT_HYPHEN}]"
_WORD = rf"{_L}{_N}*(?:[.!?]{_L}{_N}*)*"
_APOSTROPHE = f"(?:['{APOSTROPHE}]|&apos;)"
_QUOTE = f"(?:['{APOSTROPHE}{OPENING}`]|&apos;)"
_CURLED = f"(?:{APOSTROPHE}|&apos;)"
_ACRONYM = r"[A-Za-z](?:\.[A-Za-z])+\."
# Lengths are bounded where a long caption could otherwise take time that grows with its square.
# A host's name holds no ASCII sign but "#"; what follows its first slash is at least two characters long.
_HOST = r"(?:[#A-Za-z\u0080-\uffff]{1,200}\.)+"
_URL_END = r"""[^\s"<>|.!?(){},-]"""

_ABBREVIATIONS_HYPHENATED = """
    adj adm adv alex asst atty attys ave brig capt cf cie cmdr col cpl dept det dr drs ens ft gen gov hon insp
    jos lieut lt maj messrs mlle mme mr mrs ms mt natl ph pfc pres prof pvt rep reps rev sen sens sfc sgt spc st
    ste supt treas vs wm
"""
_ABBREVIATIONS = """
    al ala apr ariz assn aug bhd bldg blvd bros calif co colo conn corp cos ct dak dec esq est etc ext feb fla
    fri ga inc ind intl jan jr jul jun kan kans ky ltd mar md mich minn mo mon mont neb nev nov oct okla penn
    plc rd rt sep sept seq sq sr sys tel tenn thu thurs tue tues univ va vt wed wis wisc wyo
"""
_ABBREVIATIONS_CAPITALISED = "ark az del ill la mass miss ore pa tex wash"
_BEFORE_NUMBERS = "art ca fig figs no nos op pp prop"
_SENTENCE_STARTERS = """
    A The In He As That It At Her She You An But This They One Their When After There What About We Then Other
    So More If Some Now While Such Many These Since However Here Last Our Once According Yet Earlier
    Additionally Mr. Ms.
"""


@dataclass(frozen=True)
class Rule:
    """Matches one token in a caption's outline; `starts` holds the characters it may begin with, None is any.

    A named group in a look-ahead marks what counts towards the rule's length without being part of the token.
    """

    pattern: re.Pattern[str]
    starts: frozenset[str] | None
    rewrite: Callable[[str], str]


def _as_is(token: str) -> str:
    return token


def _bracketed(token: str) -> str:
    return token.replace("(", "-lrb-").replace(")", "-rrb-")


def _unspaced(token: str) -> str:
    return re.sub(r"\s", "\u00a0", _bracketed(token))


def _straight(token: str) -> str:
    return re.sub("[\u2018\u201b\u0091]", "`", re.sub("&apos;|[\u2019\u0092]", "'", token, flags=re.I))


def _latex_quotes(token: str) -> str:
    return token.translate(_LATEX_QUOTES)


def _without_soft_hyphens(token: str) -> str:
    return token.replace(SOFT_HYPHEN, "") or "-"


def _plain_entity(token: str) -> str:
    return token.replace("&amp;", "&").replace("&AMP;", "&")


_LATEX_QUOTES = str.maketrans(
    {
        **dict.fromkeys("\u0091\u2018\u201b\u2039", "`"),
        **dict.fromkeys("\u0092\u2019\u203a", "'"),
        **dict.fromkeys("\u0093\u201c\u00ab", "``"),
        **dict.fromkeys("\u0094\u201d\u00bb", "''"),
    }
)


def _spelt(spelling: str) -> Callable[[str], str]:
    return lambda token: spelling


def _rule(pattern: str, starts: str | None = None, rewrite: Callable[[str], str] = _as_is, flags: int = 0) -> Rule:
    return Rule(re.compile(pattern, flags), None if starts is None else frozenset(starts), rewrite)


def _any_of(words: Iterable[str]) -> str:
    return "(?:" + "|".join(sorted(words, key=len, reverse=True)) + ")"


def _spellings(words: str, *forms: Callable[[str], str]) -> str:
    return _any_of(form(word) for word in words.split() for form in forms)


_EVERY_CASE = (str.lower, str.capitalize, str.upper)
_UNHYPHENATED = _any_of(
    [
        _spellings(_ABBREVIATIONS, *_EVERY_CASE),
        _spellings(_ABBREVIATIONS_CAPITALISED, str.capitalize, str.upper),
        "P(?:te|ty)",
    ]
)
_ABBREVIATION_RULES = [
    _rule(rf"(?:{_spellings(_ABBREVIATIONS_HYPHENATED, *_EVERY_CASE)}|[Mm](?:fg|tg))\.", _LETTERS),
    _rule(rf"{_UNHYPHENATED}\.(?=(?P<ahead>-\S*|\S?))", _LETTERS),
    _rule(rf"{_spellings(_BEFORE_NUMBERS, *_EVERY_CASE)}\.(?=(?P<ahead>\s*[0-9]))", _LETTERS),
    _rule(r"[Pp][Hh]\.[Dd]\.(?=(?P<ahead>[A-Za-z]?))", "Pp"),
    _rule(_ACRONYM, _LETTERS),
    _rule(rf"[A-Za-z]\.(?!\s+{_any_of(map(re.escape, _SENTENCE_STARTERS.split()))}(?:\s|$))", _LETTERS),
]

_CONTRACTION_RULES = [
    _rule(rf"[A-Za-z]*[A-MO-Za-mo-z](?=(?P<ahead>n{_QUOTE}t))", _LETTERS, flags=re.I),
    _rule(rf"{_WORD}(?=(?P<ahead>{_APOSTROPHE}(?:[smd]|ll|re|ve)))", _ANY_LETTER, _without_soft_hyphens, re.I),
    _rule(rf"{_APOSTROPHE}n{_APOSTROPHE}", "'&" + APOSTROPHE, flags=re.I),
    _rule(rf"n{_QUOTE}t", "nN", _straight, re.I),
    _rule(r"'(?:[smd]|ll|re|ve)(?=(?P<ahead>[^A-Za-z]|$))", "'", _straight, re.I),
    _rule(rf"{_CURLED}(?:[smd]|ll|re|ve)", APOSTROPHE + "&", _straight, re.I),
    _rule(rf"'n(?=(?P<ahead>[^A-Za-z]|$))|{_CURLED}n", "'&" + APOSTROPHE, flags=re.I),
    _rule(r"'t(?=(?P<ahead>is|was))", "'", flags=re.I),
    *(
        _rule(rf"{first}(?=(?P<ahead>{second}(?![0-9A-Za-z])))", first[0] + first[0].upper(), flags=re.I)
        for first, second in [("can", "not"), ("gon", "na"), ("got", "ta"), ("wan", "na"), ("gim", "me"), ("lem", "me")]
    ),
]

_O_WORD = rf"[A-HJ-XZdlo]{_QUOTE}{_L}{{2}}{_N}*(?:-{_N}+)*"
_APOSTROPHE_WORD_RULES = [
    _rule(rf"[dDjJlL]{_APOSTROPHE}", "dDjJlL"),
    _rule(rf"[yY]{_APOSTROPHE}(?=(?P<ahead>[A-Za-z]))", "yY"),
    _rule(rf"(?:ol|somethin|dunkin){_APOSTROPHE}", "oOsSdD", flags=re.I),
    _rule(rf"{_O_WORD}|n{_QUOTE}{_L}{{2}}{_N}*", _LETTERS),
    _rule(rf"{_L}+[aeiouyAEIOUY]{_QUOTE}[aeiouA-Z]{_L}*", _ANY_LETTER),
    _rule(rf"{_APOSTROPHE}(?:em|till?|cause)", "'&" + APOSTROPHE, flags=re.I),
    _rule(rf"{_APOSTROPHE}[2-9]0s", "'&" + APOSTROPHE, flags=re.I),
    _rule(rf"{_APOSTROPHE}[0-9][0-9](?=(?P<ahead>\s|$))", "'&" + APOSTROPHE),
    _rule(rf"(?:e'er|c{_QUOTE}est|c'mon|cap'n|ev'ry|li'l|nat'l|s'mores)", "eEcClLnNsS", flags=re.I),
]

_HYPHENATED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_FILE_ENDINGS = """
    bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py sql
    tar txt wav x xml zip
"""
_WORD_RULES = [
    _rule(rf"(?:{_WORD}|{_N}+(?:[-_{HYPHEN}]{_N}+)*|{_O_WORD})\.(?=(?P<ahead>[,;:]))", _ANY_LETTER + string.digits),
    _rule(
        rf"{_N}+(?:\.{_N}+)*\.{_spellings(_FILE_ENDINGS, str.lower, str.upper)}(?=[\s.,!?]|$)",
        _ANY_LETTER + string.digits,
    ),
    _rule(_WORD, _ANY_LETTER, _without_soft_hyphens),
    _rule(rf"{_N}+(?:[-_{HYPHEN}]{_N}+)*", _ANY_LETTER + string.digits, _without_soft_hyphens),
    _rule(rf"{_HYPHENATED}(?:\\?/{_HYPHENATED}){{1,2}}", _ALPHANUMERIC),
    _rule(rf"[A-Za-z0-9][A-Za-z0-9.,]{{0,200}}(?:-(?:{_ACRONYM}|[A-Za-z0-9]+))+", _ALPHANUMERIC),
    _rule(r"[A-Z]+(?:(?:&amp;|&)[A-Z]+)+", string.ascii_uppercase, _plain_entity),
    _rule(r"[CcFf]#|[Cc]\+\+", "CcFf"),
]

_NUMBER_RULES = [
    _rule(r"[-+]?[0-9]*(?:[.,:][0-9]+)+|[-+]?[0-9]+", string.digits + "-+.,:"),
    _rule(r"(?:[0-9]{1,4}[- ])?[0-9]{1,4}(?:\\?/|\u2044)[0-9]{1,4}", string.digits, _unspaced),
    _rule(r"[0-9]{1,2}[-/][0-9]{1,2}[-/][0-9]{2,4}", string.digits),
    _rule(r"(?:\+\+?)?(?:[0-9]{2,4}[- ]){1,2}[0-9]{3,4}[- ]?[0-9]{3,5}", string.digits + "+", _unspaced),
    _rule(r"\([0-9]{2,3}\)[- ]?[0-9]{3,4}[- ]?[0-9]{3,5}", "(", _unspaced),
    *(
        _rule(sign, sign, _spelt(text))
        for sign, text in zip("\u00bc\u00bd\u00be\u2153\u2154", ["1/4", "1/2", "3/4", "1/3", "2/3"], strict=True)
    ),
    _rule(r"[A-Z]+\$", string.ascii_uppercase),
    *(
        _rule(sign, sign, _spelt(text))
        for sign, text in zip("\u0080\u00a4\u20a0\u20ac\u00a3\u00a2", ["$", "$", "$", "$", "#", "cents"], strict=True)
    ),
]

_NAME = r"[A-Za-z][A-Za-z0-9:._-]*"
_WEB_RULES = [
    _rule(rf"""https?://[^\s"<>|()]+{_URL_END}""", "hH", flags=re.I),
    _rule(
        rf"""(?:[#A-Za-z\u0080-\uffff]{{0,200}}www\.(?:[^\s`'"<>|.!?(){{}},/$]+\.)+[a-z]{{2,4}}|{_HOST}(?:com|net|org|edu))"""
        rf"""(?:/[^\s"<>|()]+{_URL_END})?""",
        flags=re.I,
    ),
    _rule(r"""<?[A-Za-z0-9][^\s"<>|(){}]{0,200}@(?:[^\s"<>|(){}.]+\.)*[^\s"<>|(){}.]+>?""", _ALPHANUMERIC + "<"),
    _rule(r"@[A-Za-z_][A-Za-z_0-9]*", "@"),
    _rule(rf"#{_L}+", "#"),
    _rule(rf"""</?{_NAME}(?:\s+{_NAME}(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>=]+))?)*\s*/?>""", "<", _unspaced),
    _rule(rf"<[!?]{_NAME}[^<>]*>|<!--.{{0,500}}?-->", "<", _unspaced),
    _rule(r"&lt;", "&", _spelt("<"), re.I),
    _rule(r"&gt;", "&", _spelt(">"), re.I),
    _rule(r"&amp;", "&", _spelt("&"), re.I),
    _rule(r"&(?:quot|apos);", "&", _spelt("'"), re.I),
    _rule(r"&[mn]dash;", "&", _spelt("--"), re.I),
    _rule(r"&nbsp;", "&", _spelt(""), re.I),
    _rule(r"&#[0-9]+;", "&"),
]

_FACE_RULES = [
    _rule(r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]](?![A-Za-z0-9])", "<>:;=", _bracketed),
    _rule(r"(?P<open>\()?[-^x=~<>']_[-^x=~<>'](?(open)\))", "(-^x=~<>'", _bracketed),
]

_SIGN_RULES = [
    _rule(r"[!?]{2,}|\*+|#+|_+|@+|<<|>>|-{5,}", "!?*#_@<>-"),
    _rule(r"''|``|\.{3,}|-{1,4}|[.,;:!?'\"`\u2014\u2026]", None, _spelt("-")),
    _rule(
        f"[{APOSTROPHE}{OPENING}{QUOTE}][{APOSTROPHE}{OPENING}{QUOTE}`]?", APOSTROPHE + OPENING + QUOTE, _latex_quotes
    ),
    _rule(r"\(", "(", _spelt("-lrb-")),
    _rule(r"\)", ")", _spelt("-rrb-")),
    _rule(r"\[", "[", _spelt("-lsb-")),
    _rule(r"\]", "]", _spelt("-rsb-")),
    _rule(r"\{", "{", _spelt("-lcb-")),
    _rule(r"\}", "}", _spelt("-rcb-")),
    _rule(rf"[^{DROPPED}{HYPHEN}]"),
]

RULES = (
    *_ABBREVIATION_RULES,
    *_CONTRACTION_RULES,
    *_APOSTROPHE_WORD_RULES,
    *_NUMBER_RULES,
    *_WEB_RULES,
    *_WORD_RULES,
    *_FACE_RULES,
    *_SIGN_RULES,
)

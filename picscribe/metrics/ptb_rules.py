"""The rules of the Stanford PTB tokenizer as `tokenize` applies them: what is one token, and how it is then spelt."""

import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from picscribe.metrics.ptb_characters import (
    ANGLED,
    APOSTROPHE,
    ASTRAL,
    COMMA,
    CONTROL,
    DIGIT,
    DROPPED,
    HYPHEN,
    LETTER,
    LOW_QUOTE,
    MARK,
    NO_BREAK_SPACE,
    NUMBER_SIGN,
    OPENING,
    QUOTE,
    SOFT_HYPHEN,
    SUBSCRIPT,
    SUBSCRIPT_SIGN,
    SUPERSCRIPT,
    SUPERSCRIPT_SIGN,
    WIDE_SPACE,
)

_LETTERS = string.ascii_letters
_ALPHANUMERIC = _LETTERS + string.digits
_DIGITS = string.digits + DIGIT + SOFT_HYPHEN
_PLAIN = _ALPHANUMERIC + LETTER + DIGIT
_ANY_LETTER = _LETTERS + LETTER + MARK + SOFT_HYPHEN + "&"

_S = f"[ \t{NO_BREAK_SPACE}{WIDE_SPACE}]"
# _D, _G: a digit, with the soft hyphen that may come before it and without; _L: a letter; _N: a letter or digit;
# _P: one that hyphens can join, so neither mark nor soft hyphen.
_D = f"(?:{SOFT_HYPHEN}?[0-9{DIGIT}])"
_G = f"[0-9{DIGIT}]"
_P = f"[0-9A-Za-z{LETTER}{DIGIT}]"
_ACCENTED = "&(?i:[aeiou](?:acute|grave|uml));"
_L = f"(?:[A-Za-z{LETTER}{MARK}{SOFT_HYPHEN}]|{_ACCENTED})"
_N = f"(?:[0-9A-Za-z{LETTER}{DIGIT}{MARK}{SOFT_HYPHEN}]|{_ACCENTED})"
_WORD = rf"{_L}{_N}*(?:[.!?]{_L}{_N}*)*"
_APOSTROPHE = f"(?:['{APOSTROPHE}]|&apos;)"
_QUOTE = f"(?:['{APOSTROPHE}{OPENING}`]|&apos;)"
_CURLED = f"(?:{APOSTROPHE}|&apos;)"
_ACRONYM = r"[A-Za-z](?:\.[A-Za-z])+\."
# Lengths are bounded where a long caption could otherwise take time that grows with its square.
_HOST = rf"(?:[#%&*+~a-z{CONTROL}\u0080-\uffff]{{1,200}}\.){{1,20}}"
_URL_END = r"""[^ \t"<>|.!?(){},-]"""

_ABBREVIATIONS_HYPHENATED = """
    adj adm adv alex assoc asst atty attys ave brig capt cf cie cmdr col comdr cpl dept det dr drs elec ens ft gen
    gov govs hon insp invt jos lieut lt maj messrs mlle mme mr mrs ms msgr mt natl pfc ph pres prof profs pvt rep
    reps rev sen sens sfc sgt spc st ste supt supts treas vs wm
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
    return token.replace(" ", "\u00a0")


def _straight(token: str) -> str:
    return re.sub("[\u2018\u201b\u0091]", "`", re.sub("&apos;|[\u2019\u0092]", "'", token))


def _latex_quotes(token: str) -> str:
    return token.translate(_LATEX_QUOTES)


def _without_soft_hyphens(token: str) -> str:
    return token.replace(SOFT_HYPHEN, "") or "-"


def _plain_entity(token: str) -> str:
    return re.sub("&amp;", "&", token, flags=re.I)


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
    return "(?:" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + ")"


def _spellings(words: str, *forms: Callable[[str], str]) -> str:
    return _any_of(form(word) for word in words.split() for form in forms)


_MAY_BE_HYPHENATED = f"(?:(?i:{_any_of(_ABBREVIATIONS_HYPHENATED.split())})|[Mm](?:fg|tg))"
_NUMBERED = _any_of(_BEFORE_NUMBERS.split())
_NEVER_HYPHENATED = (
    rf"(?:(?i:{_any_of(_ABBREVIATIONS.split())})"
    rf"|{_spellings(_ABBREVIATIONS_CAPITALISED, str.capitalize, str.upper)}|[Pp]?[Pp][Tt][ey]s?)"
)
_NAME = r"[A-Za-z][A-Za-z0-9:._-]*"
_ATTRIBUTE = rf"""{_NAME}(?: *= *(?:"[^"]*"|'[^']*'))?"""
_TAG = rf"<(?:/{_NAME} *|{_NAME}(?: +{_ATTRIBUTE})* *(?:/ *)?|[!?][A-Za-z-][^>]{{0,500}})>"
_ABBREVIATION_RULES = [
    _rule(rf"{_MAY_BE_HYPHENATED}\.", _LETTERS),
    _rule(rf"(?:{_NEVER_HYPHENATED}|[Pp][Hh]\.[Dd])\.(?=(?P<ahead>-?[^ \t]?))", _LETTERS),
    _rule(rf"{_NUMBERED}\.(?=(?P<ahead>{_S}?[0-9{DIGIT}]))", _LETTERS, flags=re.I),
    _rule(_ACRONYM, _LETTERS),
    _rule(rf"[A-Za-z]\.(?!{_S}+(?:{_spellings(_SENTENCE_STARTERS, str, str.upper)}|{_TAG})(?:{_S}|$))", _LETTERS),
]

_CONTRACTION_RULES = [
    _rule(
        rf"(?:[A-Za-z]|{SOFT_HYPHEN})*[A-MO-Za-mo-z]{SOFT_HYPHEN}*(?=(?P<ahead>n{_QUOTE}t))",
        _LETTERS + SOFT_HYPHEN,
        _without_soft_hyphens,
        re.I,
    ),
    _rule(rf"{_WORD}(?=(?P<ahead>{_APOSTROPHE}(?:[smd]|ll|re|ve)))", _ANY_LETTER, _without_soft_hyphens, re.I),
    _rule(rf"{_APOSTROPHE}n{_APOSTROPHE}", "'&" + APOSTROPHE, flags=re.I),
    _rule(rf"n{_QUOTE}t", "nN", _straight, re.I),
    _rule(r"'(?:[smd]|ll|re|ve)(?=(?P<ahead>[^A-Za-z]|$))", "'", _straight, re.I),
    _rule(rf"{_CURLED}(?:[smd]|ll|re|ve)", APOSTROPHE + "&", _straight, re.I),
    _rule(rf"'n(?=(?P<ahead>[ \t{NO_BREAK_SPACE}]|$))|{_CURLED}n", "'&" + APOSTROPHE, flags=re.I),
    _rule(r"'t(?=(?P<ahead>is|was))", "'", flags=re.I),
    *(
        _rule(rf"{first}(?=(?P<ahead>{second}(?![0-9A-Za-z])))", first[0] + first[0].upper(), flags=re.I)
        for first, second in [("can", "not"), ("gon", "na"), ("got", "ta"), ("wan", "na"), ("gim", "me"), ("lem", "me")]
    ),
]

_APOSTROPHE_WORD_RULES = [
    _rule(rf"[dDjJlL]{_APOSTROPHE}", "dDjJlL"),
    _rule(rf"[yY]{_APOSTROPHE}(?=(?P<ahead>[A-Za-z{LETTER}]))", "yY"),
    _rule(rf"(?:ol|somethin|dunkin){_APOSTROPHE}", "oOsSdD", flags=re.I),
    _rule(rf"o{_QUOTE}o", "oO", flags=re.I),
    _rule(rf"[A-HJ-XZn]{_QUOTE}[A-Za-z{LETTER}]{{2,}}", _LETTERS),
    _rule(rf"[A-Za-z{LETTER}]+[aeiouyAEIOUY]{_QUOTE}[aeiouA-Z][A-Za-z{LETTER}]*", _LETTERS + LETTER),
    _rule(rf"{_APOSTROPHE}(?:em|till?|cause)", "'&" + APOSTROPHE, flags=re.I),
    _rule(rf"{_APOSTROPHE}[2-9]0s", "'&" + APOSTROPHE, flags=re.I),
    _rule(rf"{_APOSTROPHE}[0-9][0-9](?=(?P<ahead>{_S}|$))", "'&" + APOSTROPHE),
    _rule(rf"(?:c{_APOSTROPHE}est|cap{_APOSTROPHE}n|e'er|c'mon|ev'ry|li'l|nat'l|s'mores)", "eEcClLnNsS", flags=re.I),
]

_HYPHENATED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_FILE_ENDINGS = """
    bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py sql
    tar txt wav x xml zip
"""
_PART = rf"(?:[DLOdlo]{_QUOTE}{_P}{{2,}}|{_P}+)"
_PARTS = rf"{_PART}(?:[-_{HYPHEN}]{_PART})*"
_COMPOUND = rf"[A-Za-z0-9][A-Za-z0-9.,{SOFT_HYPHEN}]{{0,200}}(?:-(?:{_ACRONYM}|[A-Za-z0-9{SOFT_HYPHEN}]+))+"
_FIRM = r"[A-Z]+(?:(?:(?i:&amp;)|[&+])[A-Z]+)+"
_WORD_RULES = [
    _rule(
        rf"(?:{_WORD}|{_PARTS}|{_COMPOUND}|{_FIRM})\.(?=(?P<ahead>[,;:{COMMA}]))",
        _ANY_LETTER + _PLAIN,
        _without_soft_hyphens,
    ),
    _rule(
        rf"{_N}{{1,200}}(?:\.{_N}{{1,200}}){{0,20}}\.(?i:{_any_of(_FILE_ENDINGS.split())})(?={_S}|[.,!?]|$)",
        _ANY_LETTER + _PLAIN,
    ),
    _rule(_WORD, _ANY_LETTER, _without_soft_hyphens),
    _rule(_PARTS, _PLAIN),
    _rule(rf"{_HYPHENATED}(?:\\?/{_HYPHENATED}){{1,2}}", _ALPHANUMERIC),
    _rule(_COMPOUND, _ALPHANUMERIC, _without_soft_hyphens),
    _rule(_FIRM, string.ascii_uppercase, _plain_entity),
    _rule(r"(?:anti|pro)-", "aApP", flags=re.I),
    _rule(r"[CcFf]#|[Cc]\+\+", "CcFf"),
]

_NUMBER_RULES = [
    _rule(
        rf"[-+]?{_D}*(?:[.,:{NUMBER_SIGN}]{_G}{_D}*)+|[-+]?{_D}+",
        _DIGITS + "-+.,:" + NUMBER_SIGN,
        _without_soft_hyphens,
    ),
    _rule(rf"(?:{_G}{{1,4}}[- {NO_BREAK_SPACE}])?{_G}{{1,4}}(?:\\?/|\u2044){_G}{{1,4}}", _DIGITS, _unspaced),
    _rule(rf"{_G}{{1,2}}[-/]{_G}{{1,2}}[-/]{_G}{{2,4}}", _DIGITS),
    _rule(
        rf"(?:\+\+?)?(?:[0-9]{{2,4}}[- {NO_BREAK_SPACE}]){{1,2}}[0-9]{{3,4}}[- {NO_BREAK_SPACE}]?[0-9]{{3,5}}",
        string.digits + "+",
        _unspaced,
    ),
    _rule(
        rf"\([0-9]{{2,3}}\)[ {NO_BREAK_SPACE}]?[0-9]{{3,4}}[- {NO_BREAK_SPACE}]?[0-9]{{3,5}}",
        "(",
        lambda token: _bracketed(_unspaced(token)),
    ),
    _rule(rf"{SUPERSCRIPT_SIGN}?{SUPERSCRIPT}+", SUPERSCRIPT + SUPERSCRIPT_SIGN),
    _rule(rf"{SUBSCRIPT_SIGN}?{SUBSCRIPT}+", SUBSCRIPT + SUBSCRIPT_SIGN),
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

_SITE = rf"""(?:(?i:www)\.(?:[^ \t"<>|.!?(){{}},]+\.)+[A-Za-z]{{2,4}}|{_HOST}(?i:com|net|org|edu))"""
_MAIL = rf"""[^ \t{NO_BREAK_SPACE}"<>|(){{}}.]"""
# What follows a slash here is at least two characters long, to Java.
_WEB_RULES = [
    _rule(rf"""https?://(?:[^ \t"<>|(){{}}]+{_URL_END}|{ASTRAL})""", "hH", flags=re.I),
    _rule(_SITE),
    _rule(rf"""{_SITE}/(?:[^ \t"<>|()]+{_URL_END}|{ASTRAL})"""),
    _rule(
        rf"(?:<|(?i:&lt;))?[A-Za-z0-9](?:{_MAIL}|\.){{0,200}}@(?:{_MAIL}+\.)*{_MAIL}+(?:>|(?i:&gt;))?",
        _ALPHANUMERIC + "<&",
    ),
    _rule(r"@[A-Za-z_][A-Za-z_0-9]*", "@"),
    _rule(rf"#{_L}+", "#"),
    _rule(_TAG, "<", _unspaced),
    _rule(r"&lt;", "&", _spelt("<"), re.I),
    _rule(r"&gt;", "&", _spelt(">"), re.I),
    _rule(r"&amp;", "&", _spelt("&"), re.I),
    _rule(r"&(?:quot|apos);", "&", _spelt("'")),
    _rule(r"&(?:quot|apos);", "&", flags=re.I),
    _rule(r"&[mn]dash;", "&", _spelt("--"), re.I),
    _rule(r"&nbsp;", "&", _spelt(""), re.I),
    _rule(r"&#[0-9]+;", "&"),
]

_FACE_RULES = [
    _rule(r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]](?![A-Za-z0-9])", "<>:;=", _bracketed),
    _rule(r"[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][._]?[-^x=~<>']\)", "(-^x=~<>'", _bracketed),
]

_QUOTES = APOSTROPHE + OPENING + ANGLED + QUOTE
_SIGN_RULES = [
    _rule(r"[!?]{2,}|\*+|#+|_+|@+|<<|>>|-{5,}", "!?*#_@<>-"),
    _rule(r"''|``|\.{3,5}|-{1,4}|[.,;:!?'\"`\u2014\u2026]", None, _spelt("-")),
    _rule(f"[{_QUOTES}{LOW_QUOTE}`]{{2}}|[{_QUOTES}]", _QUOTES + LOW_QUOTE + "`", _latex_quotes),
    _rule("-[LR][RSC]B-", "-", flags=re.I),
    _rule(r"(?:\\\*){1,3}", "\\"),
    _rule(r"\(", "(", _spelt("-lrb-")),
    _rule(r"\)", ")", _spelt("-rrb-")),
    _rule(r"\[", "[", _spelt("-lsb-")),
    _rule(r"\]", "]", _spelt("-rsb-")),
    _rule(r"\{", "{", _spelt("-lcb-")),
    _rule(r"\}", "}", _spelt("-rcb-")),
    _rule(rf"[^{DROPPED}{ASTRAL}{CONTROL}{NO_BREAK_SPACE}{WIDE_SPACE}{HYPHEN}{NUMBER_SIGN} \t]"),
]

RULES = (
    *_ABBREVIATION_RULES,
    *_CONTRACTION_RULES,
    *_APOSTROPHE_WORD_RULES,
    *_NUMBER_RULES,
    *_WORD_RULES,
    *_WEB_RULES,
    *_FACE_RULES,
    *_SIGN_RULES,
)

_ABBREVIATED = re.compile(f"[a-z]|{_MAY_BE_HYPHENATED}|{_NEVER_HYPHENATED}|{_NUMBERED}", re.I)


def may_abbreviate(word: str) -> bool:
    """Whether a full stop after this word can belong to it."""
    return _ABBREVIATED.fullmatch(word) is not None

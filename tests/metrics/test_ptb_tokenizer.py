"""`tokenize` against what Stanford's tokenizer answers, once written down and, where Java is there, asked again."""

import json
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picscribe.metrics import tokenize
from picscribe.metrics.ptb_characters import outline
from picscribe.metrics.ptb_tokenizer import PUNCTUATION, _tokenize_by_rules

odd_strings = runpy.run_path(str(Path(__file__).with_name("odd_strings.py")))["odd_strings"]
LINE_ENDS = (0x85, 0x2028, 0x2029)
ABBREVIATIONS = [*"aAIdlyonUu", "mr", "Mr", "ST", "etc", "Mass", "no", "fig", "Ph", "vs", "assoc", "anti", "cannot"]

ANSWERS = {
    "A black dog and a t-shirt .": "a black dog and a t-shirt",
    "I can't, won't don't cannot gonna": "i ca n't wo n't do n't can not gon na",
    "CAN'T don’t shan't cann't don'ts": "ca n't do n't sha n't cann t do n'ts",
    "the dog's dogs' toys": "the dog 's dogs toys",
    "he'd've I'm we'll they're": "he 'd 've i 'm we 'll they 're",
    "rock 'n' roll rock'n'roll 'em 'til": "rock 'n' roll rock 'n' roll 'em 'til",
    "'tis 'twas y'all o'clock O'Brien c'mon": "'t is 't was y' all o'clock o'brien c'mon",
    "cat'dog o'er x'ton": "cat dog o'er x ton",
    "\"hello\" 'world' “double” ‘single’ ``a''": "hello world double single a",
    "(a) [b] {c} <d> </p>": "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb- <d> </p>",
    "u.s. The U.S. Army. d.c. J.F.K. ab.c.": "u.s. the u.s. army d.c. j.f.k. ab.c",
    "mr. smith Mr. Smith St. John jr. sun. etc. And": "mr. smith mr. smith st. john jr. sun etc. and",
    "me. Me. la. La. no. 5 no. dog": "me me la la. no. 5 no dog",
    "vitamin C. The dog, J. Smith": "vitamin c the dog j. smith",
    "1/2 3/4 cup ½ 2½ 10/12/2012": "1/2 3/4 cup 1/2 2 1/2 10/12/2012",
    "2 1/2 cups": "2\u00a01/2 cups",
    "$5.00 £10 €5 5% 1,000 .5 -5 5¢ US$ 5": "$ 5.00 # 10 $ 5 5 % 1,000 .5 -5 5 cents us$ 5",
    "5'10\" 6'2 '90s 90's '10": "5 10 6 2 '90s 90 's '10",
    "5:30 5:30pm 5 p.m. 5p.m. 10am 1.5ft 4x4 3D": "5:30 5:30 pm 5 p.m. 5p m. 10am 1.5 ft 4x4 3d",
    "(415) 555-1212": "-lrb-415-rrb-\u00a0555-1212",
    "a/b and/or w/ 24/7 black/white-striped": "a/b and/or w / 24/7 black/white-striped",
    "a--b a – b — ----- cat- -cat mid-1990s": "a b a b ----- cat cat mid-1990s",
    "... .. a... …": "a.",
    "yes!no what?! !! ok! end.start": "yes!no what ?! !! ok end.start",
    "http://foo.com/bar?x=1. www.foo.com foo.org/x": "http://foo.com/bar?x=1 www.foo.com foo.org / x",
    "john@foo.com @user #tag #1": "john@foo.com @user #tag # 1",
    "AT&T at&t R&D a&b &amp; &quot;": "at&t at & t r&d a & b &",
    "😀 a 😀b 👍🏽 café naïve 日本語 ™ ©2012 10°C": "a b café naïve 日本語 ™ © 2012 10 ° c",
    ":) ;-) :D :dog :p. ^_^": ":-rrb- ;--rrb- :d dog :p ^_^",
    "a_b C++ C# * ** # ~ = | \\": "a_b c++ c# * ** # ~ = | \\",
    "“” don‘t": "``'' do n`t",
    "new\nline\ttab\r\nend": "new line tab end",
    "": "",
    " \t\n ": "",
    ". , ; : ! ? ' ` - -- ...": "",
    "fT. mass. Mass. elec. x": "ft. mass mass. elec. x",
    "jan.-x est.-17 jan.-x-y": "jan. x est.-17 jan.-x-y",
    "x-o'clock A'os-l d'88 A'88 n'tF5": "x-o'clock a'os l d'88 a '88 n'tf 5",
    "'n. 'n x '14, '14": "n. 'n x 14 '14",
    "KH+TA K+c K&AMP;C": "kh+ta k + c k&c",
    "A.com/ab a.com/ab %a.network a.COM/ab": "a.com / ab a.com/ab %a.net work a.com/ab",
    "(><) ><) (x.x) \\*": "-lrb-><-rrb- > < -rrb- -lrb-x.x-rrb- \\*",
    "<a b='(c) d'> <a b=c> <!-- x -->": "<a\u00a0b='(c)\u00a0d'> < a b = c > <!--\u00a0x\u00a0-->",
    "&eacute;t&eacute; &QUOT; &copy; &lt;a@b": "&eacute;t&eacute; &quot; & copy <a@b".replace("<a", "&lt;a"),
    "x\u00adx 3\u00adT 1\u00ad1 h-\u00ad": "xx 3 t 11 h-",
    "x²³ ₁₂ ......0 anti- ante-": "x ²³ ₁₂ .0 anti- ante",
    "ΑΣ ΑΣΑ Α-Σ ΟΣ-d": "ας ασα α-ς οσ-d",
    "٣٫٥ ５/6 5́ ࠀ \u08a1": "٣٫٥ ５/6 5 \u0301 ࠀ",
}


@pytest.mark.parametrize("caption", ANSWERS)
def test_answers_written_down(caption: str) -> None:
    assert tokenize(caption) == [token for token in ANSWERS[caption].split(" ") if token]


def test_the_written_answers_are_stanfords(stanford) -> None:  # type: ignore[no-untyped-def]
    one_line = {c: a.split(" ") for c, a in ANSWERS.items() if "\r" not in c and c.strip()}
    apart = [line for caption in one_line for line in (caption, "q")]
    answers = stanford(apart)[::2]
    assert dict(zip(one_line, answers, strict=True)) == {c: [t for t in a if t] for c, a in one_line.items()}


def test_all_flickr8k_captions_as_stanford(flickr8k: Path, stanford) -> None:  # type: ignore[no-untyped-def]
    document = json.loads((flickr8k / "dataset_flickr8k.json").read_text(encoding="utf-8"))
    captions = [sentence["raw"] for image in document["images"] for sentence in image["sentences"]]
    assert len(captions) >= 5000
    differing = [c for c, answer in zip(captions, stanford(captions), strict=True) if tokenize(c) != answer]
    assert differing == []


def test_odd_strings_as_stanford(stanford) -> None:  # type: ignore[no-untyped-def]
    odd = odd_strings(20_000, seed=6)
    # A plain line between two: Stanford's tokenizer looks over the line's end for a sentence that begins there.
    answers = stanford([line for caption in odd for line in (caption, "q")])[::2]
    differing = [
        (caption, tokenize(caption), answer)
        for caption, answer in zip(odd, answers, strict=True)
        if tokenize(caption) != [token for token in answer if token]
    ]
    assert len(differing) <= 20, differing


def test_every_character_as_stanford(stanford) -> None:  # type: ignore[no-untyped-def]
    """Of the basic plane, alone and within letters and digits; line ends and halves of pairs left out."""
    codes = [*range(0x20, 0x3400), *range(0x3400, 0xA000, 100), *range(0xA000, 0xD800, 20), *range(0xF900, 0x10000)]
    characters = [chr(code) for code in codes if code not in LINE_ENDS]
    odd = [f"{character} x{character}x 1{character}1" for character in characters]
    differing = [
        character
        for character, caption, answer in zip(characters, odd, stanford(odd), strict=True)
        if tokenize(caption) != [token for token in answer if token]
    ]
    assert differing == []


def test_looking_up_words_changes_nothing(flickr8k: Path) -> None:
    document = json.loads((flickr8k / "dataset_flickr8k.json").read_text(encoding="utf-8"))
    captions = [sentence["raw"] for image in document["images"] for sentence in image["sentences"]]
    # Each word of theirs before each sign, where a rule could take the sign as part of the word.
    words = sorted({word for caption in captions for word in caption.split() if word.isalpha()}) + ABBREVIATIONS
    ended = [f"x {word}{end} The" for word in words for end in (".", ",", ";", ":", "!", "'s", "'s.", "-x.")]
    for caption in captions[::20] + ended[::3]:
        assert tokenize(caption) == _tokenize_by_rules(caption)


def test_looking_up_pieces_changes_nothing() -> None:
    for caption in [*odd_strings(2_000, seed=7), *ANSWERS]:
        assert tokenize(caption) == _tokenize_by_rules(caption)


@given(st.lists(st.from_regex(r"[A-Za-z]{0,4}('s|n't|-[a-z])?[.,;:!?\"'0-9-]{0,2}", fullmatch=True)).map(" ".join))
def test_looking_up_what_people_write_changes_nothing(caption: str) -> None:
    assert tokenize(caption) == _tokenize_by_rules(caption)


@given(st.text())
def test_looking_up_any_text_changes_nothing(caption: str) -> None:
    assert tokenize(caption) == _tokenize_by_rules(caption)


@given(st.text())
def test_tokens_are_words(caption: str) -> None:
    assert len(outline(caption)) == len(caption)
    for token in tokenize(caption):
        assert token == token.lower()
        assert token and token not in PUNCTUATION and " " not in token


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=3).map("the{}".format), max_size=20))
def test_plain_words_are_their_own_tokens(words: list[str]) -> None:
    assert tokenize(" ".join(words)) == words


@pytest.mark.parametrize(
    "piece",
    ["a,", "#a", "a.", "<a ", "<!--", "a'", "a-", "1-", "a@", "www.", "http://", "aa'", "etc.", "?a", "#.", "v1.2"],
)
def test_a_giant_caption_takes_linear_time(piece: str) -> None:
    start = time.process_time()
    tokenize(piece * 20_000)
    assert time.process_time() - start < 5


def test_metrics_do_not_import_torch() -> None:
    code = "import sys, picscribe.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

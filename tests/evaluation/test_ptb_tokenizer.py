"""`tokenize` against what Stanford's tokenizer answers, once written down and, where Java is there, asked again."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picscribe.evaluation import tokenize
from picscribe.evaluation.ptb_characters import outline
from picscribe.evaluation.ptb_tokenizer import PUNCTUATION

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


PIECES = """
    a dog The man's cat don't can't I'm we've she'll U.S. u.s. Mr. mr. St. etc. 5 12 1,000 3.5 1/2 2 10:30 p.m.
    a.m. $ £ € 5% 100% " ' ` `` '' ‘ ’ “ ” ( ) [ ] { } - -- --- – — … ... . .. , ; : ! ? ?! !! & @ # * + = / \\
    | ~ ^ _ < > t-shirt black-and-white www.dog.com http://dog.com/a dog.com a@b.com @dog #dog rock 'n' roll 'em
    '90s 90's 5'10" 😀 👍🏽 café naïve 日本 ½ ° ™ © AT&T R&D &amp; &quot; 4x4 3D 1st 21st No. no. Jan. inc. Co. J. F.
    A. x y's dogs' o'clock y'all O'Brien ol' cannot gonna wanna-be :) ;-) :D <3 555-1234 (415) A.M. PhD Ph.D.
    i.e. e.g. vs. 2012 1990s STOP WOW he/she and/or w/ T.V. TV's JUST 7-8 mid-air -5 +3 can’t “dog” ‘cat’ ’s n't
    's
"""


def test_odd_strings_as_stanford(stanford) -> None:  # type: ignore[no-untyped-def]
    """At least 99.9 % of 20,000 strings of one to seven odd pieces, some without a space between."""
    draw = random.Random(20)
    pieces = PIECES.split()
    odd = [
        "".join(draw.choice(pieces) + draw.choice(["", *" " * 5]) for _ in range(draw.randint(1, 7)))
        for _ in range(20_000)
    ]
    # A plain line between two: Stanford's tokenizer looks over the line's end for a sentence that begins there.
    answers = stanford([line for caption in odd for line in (caption, "q")])[::2]
    differing = [(c, tokenize(c), answer) for c, answer in zip(odd, answers, strict=True) if tokenize(c) != answer]
    assert len(differing) <= 20, differing


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
    "piece", ["a,", "#a", "a.", "<a ", "<!--", "a'", "a-", "1-", "a@", "www.", "http://", "aa'", "etc.", "?a"]
)
def test_a_giant_caption_takes_linear_time(piece: str) -> None:
    start = time.process_time()
    tokenize(piece * 20_000)
    assert time.process_time() - start < 5


def test_metrics_do_not_import_torch() -> None:
    code = "import sys, picscribe.evaluation; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""Draws odd captions for comparing tokenizers: whatever turns up in text from the web, glued, cut and mixed up."""

import random
import re
import string
from collections.abc import Callable

CAPTIONS = [
    line.strip()
    for line in """
    A black dog is running through the tall grass .
    Two men , one in a red shirt , sit on a bench .
    The little girl's mother isn't looking at the camera
    a man riding a wave on top of a surfboard
    People are walking down a city street at night.
    Children play in the water , and a woman watches them !
    An old man with a long-sleeved t-shirt holds his wife's hand .
    A group of friends "hanging out" in front of a store
    the boy doesn't want to go home; he's having fun
    Five people ( three adults , two kids ) wait for the bus .
""".strip().splitlines()
]

WORDS = """
    a the A The dog Dog DOG man's cats dogs' in on of and And AND or but he it I You we They there people
    woman's running red shirt street Street New York John Smith no No yes well mass ill US us IT it's its sun
    may May march Mar is was to too two one mother-in-law t-shirt x-ray re-do co-op black-and-white well-known
    e-mail 20-year-old anti-American twenty-one X Y b s t re ve ll d m n nt em til cause round bout
"""
CONTRACTIONS = """
    can't won't don't isn't aren't shan't ain't couldn't've I'd've he's she'd we'll they're you've I'm it's
    let's who's o'clock y'all ma'am ol' rock'n'roll 'n' 'tis 'twas 'til 'till 'em 'cause 'bout 'round 'nuff 'n
    goin' nothin' d'you d'Artagnan l'homme c'est qu'il O'Brien O'Neill D'Angelo o'er e'er ne'er cap'n ma'm gov't
    int'l nat'l s'more jack-o'-lantern cannot gonna gotta wanna gimme lemme dunno kinda lotta Cannot GONNA
    whaddya whatcha hafta more'n d'ye twasn't dogs' James' boss's '90s 90's 1990's '70s-style the'90s A's TV's
    DVDs' mustn't needn't 'S 's 't 'd 'll 're 've n't N'T CAN'T DON'T I'LL IT'S WE'RE SHE'D THEY'VE 'TIS Y'ALL
    O'CLOCK ROCK'N'ROLL fo'c'sle ha'penny Hawai'i Qur'an Xi'an
"""
ABBREVIATIONS = """
    Mr. Mrs. Ms. Dr. St. Jr. Sr. Prof. Gen. Sen. Rep. Lt. Col. Sgt. Capt. Rev. Hon. U.S. U.K. U.S.A. U.N. E.U.
    D.C. L.A. N.Y. e.g. i.e. a.m. p.m. A.M. P.M. etc. vs. v. cf. al. et. Inc. Ltd. Co. Corp. Bros. No. no. Nos.
    Fig. fig. pp. p. vol. Vol. ed. Ave. Blvd. Rd. Mt. Ft. ft. in. lb. lbs. oz. min. sec. hr. hrs. yr. yrs. mph.
    sq. Jan. Feb. Mar. Apr. Jun. Jul. Aug. Sept. Oct. Nov. Dec. Mon. Tue. Wed. Thu. Fri. Sat. Sun. Calif. Mass.
    Tex. Fla. Wash. Va. Md. Pa. Ill. Ph.D. M.D. B.A. B.Sc. R.I.P. J.R.R. J. K. Rowling W. approx. dept. est.
    ext. tel. misc. max. min. vs w/ w/o c/o a.k.a. aka P.S. p.s. R.S.V.P. A.D. B.C. c. ca. univ. dept. assn.
    Messrs. Mme. Mlle. Gov. Pres. Supt. Cpl. Pvt. Maj. Cmdr. Adm. Esq. Ste. Pte. Hwy. Pl. Sq. Ln.
"""
WEB = """
    http://example.com https://www.example.org/a/b?c=1&d=2#top www.dogs.co.uk example.com dogs.net/
    dogs.org/photos/1.jpg HTTP://EXAMPLE.COM ftp://files.example.com/a.zip http://bit.ly/2abC
    instagram.com/dog_pics youtu.be/xYz-12 a.io me@example.com first.last@mail.example.co.uk dog+tag@x.org
    mailto:me@example.com <me@example.com> @dog_lover @User1 #dog #nofilter #2019 #dog-park #DogsOfInstagram
    IMG_1234.JPG photo.jpg file.tar.gz report.pdf index.html C:\\dogs\\a.txt /usr/bin dog.com. www.example.com,
    http://example.com/a_(b) https://example.com/. &amp; &lt; &gt; &quot; &apos; &nbsp; &copy; &#39; &#x27;
    &eacute; &ndash; &mdash; &hellip; &AMP; &amp;amp; <b> </b> <br/> <br /> <p class="x"> <img src="a.png"
    alt='dog'/> <!-- note --> <dog> < > <> <3 </3 << >> <a href=http://x.org> <unk> <s> </s> [CLS] <|end|>
    <start> {{x}} $HOME ${x} %20 127.0.0.1 v1.2.3 2.0b1 utf-8 x=1 a=b key:value foo::bar a->b a=>b x<y x>y
    r/dogs u/me C++ C# F# .NET node.js Wi-Fi 4K HD 16:9
"""
SMILEYS = """
    :) :-) ;) ;-) :( :-( :D :P :p :-/ :/ :| :o :-O :* :') :'( =) =D 8) 8-) XD xD (: ): (-: ^_^ -_- o_O O.o >.<
    T_T :3 <3 \\o/ ¯\\_(ツ)_/¯ :] :[ :} ;D
"""
EMOJI = """
    😀 😂 👍 👍🏽 👩‍👩‍👧 👨‍💻 🇺🇸 🇬🇧 🏳️‍🌈 ❤️ ❤ ☀️ ☺ ✔ ★
    ☆ ♥ ♪ ♫ ☎ 1️⃣ 🐕‍🦺 🐶 🔥 ✨ ⭐ ⚽ ©️ ™️ ➡️ ✈
"""
FOREIGN = """
    café naïve Élan über Straße señor garçon Ångström façade Zoë résumé l’été aujourd'hui qu’il İstanbul ırmak
    café naïve Ångström 犬 日本語 東京タワー 狗在跑。 「犬」 『猫』 、 。 ！ ？
    ， ： ； （犬） 【犬】 ・ ー ～ 한국어 강아지 собака Собака. кот-пёс
    Привет, мир! كلب القط، هل؟ שלום כלב־ים "שלום" σκύλος Σκύλος; άλφα·βήτα हिन्दी कुत्ता। ไทยหมา தமிழ் বাংলা
    ქართული հայերեն՝ ＡＢＣ ａｂｃ １２３ ＄５ ％ （ａ） ＂ ＇ ﬁsh ﬂag Ⅳ ⅷ
    ① ㎞ ℃ № ℡ ª º µ ß ĳ ŉ ǆ ᴅ ﷺ
"""
QUOTES = """
    " ' ` `` '' ''' “ ” ‘ ’ „ ‚ « » ‹ › ‛ ‟ ′ ″ ´ ¨ ＂ ＇ 〝 〞 ❝ ❞ ՚ ʼ ʻ ʹ ˈ
"""
DASHES = """
    - -- --- ---- ----- -------- ‐ ‑ ‒ – — ― − ﹘ ﹣ － ~ ～ ⸺ 〜 ­
"""
BRACKETS = """
    ( ) [ ] { } < > (( )) [[ ]] ⟨ ⟩ 〈 〉 《 》 「 」 『
    』 【 】 （ ） ［ ］ ｛ ｝ ⦅ ⌈ ⌉ () [] {} -LRB- -RRB- -LSB- -rcb- ([ ])
"""
MARKS = """
    . , ; : ! ? .. ... .... ..... … …… ?! !? ?? !! !!! ?!?! ?!?!?! ,, ;; :: ., !. ?. ., ,. . . . * ** *** _ __
    ___ # ## / // \\ \\\\ | || & && @ @@ ^ ~ ~~ + ++ = == === % ‰ § ¶ † ‡ • · ¿ ¡ ‽ ⁇ ※ ° º ª ™ ® © ¦ ¬ ¯ ¤ ->
    => <- → ← ↑ ⇒ ▶ ● ■ □ ▪ ◆ ─ │ █
"""
MATH = """
    + - − × ÷ = ≠ ≈ ≤ ≥ < > ± ∓ √ ∞ ∑ ∫ π µ ° ′ ″ ½ ¼ ¾ ⅓ ⅔ ⅛ ⅞ ² ³ ¹ ⁴ ₂ ‰ % ∈ ∀ · ∗ ⁄ ∕ ∶ ∙ ⋅
"""
CURRENCY = """
    $ £ € ¥ ¢ ₹ ₽ ₩ ₤ ฿ US$ A$ C$ HK$ NZ$ R$ USD EUR ￥ ＄ ￡ Rs. ¤ ₠ Fr.
"""
UNITS = """
    % ° °C °F ℃ º cm mm m km ft in kg g lb lbs mph km/h px MB k K m M bn am pm a.m. p.m. AM PM h s th st nd rd x
    D " ' ″ ′ '' ¢ p c
"""
SPACES = "\u00a0\u202f\u3000\u2009\u2002\u2003\u0009"
INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u0301\u0308\ufe0f\u20e3\u061c"
NUMBERS = re.split(
    r"\s\s+",
    """
    {n}  {o}  {n},{three}  {n},{three},{three}.{m}  {n}.{m}  .{m}  {n}.  {n},{m}  -{n}  +{n}  −{n}  {n}%
    {n}/{m}  {n} {m}/{o}  {n}-{m}/{o}  {n}⁄{m}  {n}½  {n} ½  ½  ¼-¾  {n}-{m}  {n}–{m}  {n}—{m}  {n}-{m}-{o}
    {n}x{m}  {n}×{m}  {n} x {m}  {n}1st  {n}nd  {n}3rd  {n}th  1{two}0s  '{two}  '{n1}0s  ’{n1}0s  {n1}0's
    mid-{four}s  {n1}'{m}"  {n1}’{m}”  {n1}' {m}"  {n1}′{m}″  {n}"  {n}''  {n}-foot  {n}-year-old  {n} yr. old
    {n}yo  {two}/{two}/{four}  {n1}/{two}/{two}  {four}-{two}-{two}  {two}.{two}.{four}  {n1}/{m1}
    {four}/{two}  {n1}:{two}  {n1}:{two}pm  1{n1}:{two} p.m.  {n1}pm  {n1} a.m.  {two}:{two}:{two}
    {n1}.{two}pm  {two}h{two}  {three}-{four}  {three}-{three}-{four}  ({three}) {three}-{four}
    +1 {three} {three} {four}  +44 20 {four} {four}  {three}.{three}.{four}  1-800-{three}-{four}
    {three} {four}  ({n})  [{n}]  #{n}  No. {n}  no.{n}  pp. {n}-{m}  {n}:{m}  {n}^{m}  {n}e{m}  1e-{n}
    {n}+{m}={o}  {n}*{m}  {n}<{m}  {n}>{m}  {n} / {m}  {n}/  /{n}  {n}&{m}  {n}'s  {n}s  {n}mm  F{n}
    f/{n1}.{m1}  A{n}  {n}A  {n}_{m}  {n}.{m}.{o}  {n}..{m}  {n}...{m}  {n}!  x{n}  {n}:{m}:{o}  {n}k  {n}K+
    {n}+  ~{n}  <{n}  >{n}  ≈{n}  {n}°  {n}°C  {n} °F  {n}-  -{n}-  {n}--{m}  {n}'{m}  {n}({m})  {n};{m}
    {n}\u00a0{three}  {n} {three} {three}  {n1}½  {four}—{two}  {n}.{m}%  ${n}  {n}\u00ad{m}
""".strip(),
)
PRICES = (
    "{sign}{amount}",
    "{sign} {amount}",
    "{amount}{sign}",
    "{amount} {sign}",
    "-{sign}{amount}",
    "{sign}{amount}m",
    "({sign}{amount})",
    "{sign}{amount}-{sign}{amount}",
)
ENCLOSURES = """
    () [] {} <> "" '' `` “” ‘’ «» „“ ‹› （） 「」 【】 ** __ ~~ -- –– —— // || ❝❞ ”“ ’’ `' (()) [[]] {{}} ``'' ““””
"""
JOINTS = "- / & ' ’ . , : ; _ – — -- ... … + = @ | * ! ? \\ · ~ &amp; ‐ # % ° ( ) [ \""
ENDS = ". . ! ? , ; : ... … .\" .) .' .” ?! ' ’ \" ) .."
BLOCKS = (
    (0x20, 0x7F),
    (0xA0, 0x180),
    (0x180, 0x600),
    (0x600, 0x1100),
    (0x1E00, 0x2000),
    (0x2000, 0x2500),
    (0x2500, 0x3000),
    (0x3000, 0xA000),
    (0xF900, 0xFFF0),
    (0x1F300, 0x1FA00),
)
SEPARATORS = [" "] * 12 + ["", "", "", "  ", "\t", "\u00a0", ", ", ",", ". ", ".", "-", "/", "\u200b", "\u2009"]


def _digits(draw: random.Random, least: int, most: int) -> str:
    return "".join(draw.choice(string.digits) for _ in range(draw.randint(least, most)))


def _number(draw: random.Random) -> str:
    """A count, decimal, fraction, ordinal, range, ratio, height, date, time or telephone number."""
    digits = {name: _digits(draw, 1, 3) for name in ("n", "m", "o")}
    digits |= {"n1": _digits(draw, 1, 1), "m1": _digits(draw, 1, 1)}
    digits |= {"two": _digits(draw, 2, 2), "three": _digits(draw, 3, 3), "four": _digits(draw, 4, 4)}
    return draw.choice(NUMBERS).format(**digits)


def _money(draw: random.Random) -> str:
    amount = draw.choice([_digits(draw, 1, 4), f"{_digits(draw, 1, 3)}.{_digits(draw, 2, 2)}", _number(draw)])
    return draw.choice(PRICES).format(sign=draw.choice(_CURRENCY), amount=amount)


def _measure(draw: random.Random) -> str:
    return _number(draw) + draw.choice(["", " "]) + draw.choice(_UNITS)


def _word(draw: random.Random) -> str:
    return draw.choice(draw.choice(_WORD_LISTS))


def _cased(draw: random.Random) -> str:
    word = _word(draw)
    return draw.choice([str.upper, str.lower, str.capitalize, str.title, str.swapcase])(word)


def _curled(draw: random.Random) -> str:
    """A contraction with another apostrophe than the typewriter's."""
    return draw.choice(_CONTRACTIONS).replace("'", draw.choice("’’’’‘`´ʼ′＇‛"))


def _enclosed(draw: random.Random) -> str:
    ends = draw.choice(_ENCLOSURES)
    left, right = ends[: len(ends) // 2], ends[len(ends) // 2 :]
    inner = piece(draw) if draw.random() < 0.5 else f"{piece(draw)} {piece(draw)}"
    return draw.choice([left + inner + right, f"{left} {inner} {right}", left + inner, inner + right])


def _joined(draw: random.Random) -> str:
    """Two or more words with a sign between, as in and/or, AT&T, black-and-white or runs.The."""
    words = [draw.choice([_word, _cased, _letters, _number])(draw) for _ in range(draw.choice([2, 2, 2, 3, 4]))]
    return draw.choice(_JOINTS).join(words)


def _letters(draw: random.Random) -> str:
    """Letters that are no word, or an acronym with or without full stops."""
    letters = [draw.choice(string.ascii_letters) for _ in range(draw.randint(1, 5))]
    return draw.choice(["", ".", "&"]).join(letters).translate(draw.choice([{}, _UPPER])) + draw.choice(["", "", "."])


def _sign(draw: random.Random) -> str:
    return draw.choice(draw.choice(_SIGN_LISTS))


def _signs(draw: random.Random) -> str:
    return "".join(_sign(draw) for _ in range(draw.randint(2, 4)))


def _any_character(draw: random.Random) -> str:
    """Of the blocks that people use, mostly; never half of a surrogate pair."""
    return chr(draw.randrange(*draw.choice(BLOCKS)))


def _ended(draw: random.Random) -> str:
    return _word(draw) + draw.choice(_ENDS)


def _broken(draw: random.Random) -> str:
    """A word with something put inside it."""
    word = _word(draw)
    cut = draw.randint(0, len(word))
    return word[:cut] + draw.choice([_sign, _any_character])(draw) + word[cut:]


_WORD_LISTS = [kind.split() for kind in (WORDS, CONTRACTIONS, ABBREVIATIONS, WEB, SMILEYS, EMOJI, FOREIGN)]
_SIGN_LISTS = [kind.split() for kind in (QUOTES, DASHES, BRACKETS, MARKS, MATH, CURRENCY)] + [
    list(SPACES),
    list(INVISIBLE),
]
_CURRENCY, _UNITS = CURRENCY.split(), UNITS.split()
_CONTRACTIONS = CONTRACTIONS.split()
_ENCLOSURES, _JOINTS, _ENDS = ENCLOSURES.split(), [*JOINTS.split(), "\u00ad"], ENDS.split()
_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
_WEIGHTS: dict[Callable[[random.Random], str], int] = {
    _word: 14,
    _number: 8,
    _joined: 6,
    _sign: 6,
    _curled: 5,
    _cased: 4,
    _money: 4,
    _measure: 4,
    _letters: 4,
    _ended: 3,
    _broken: 3,
    _enclosed: 3,
    _signs: 2,
    _any_character: 1,
}


def piece(draw: random.Random) -> str:
    """One word, number, sign or other odd thing; it may hold spaces."""
    return draw.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0](draw)


def _mixture(draw: random.Random) -> str:
    return "".join(piece(draw) + draw.choice(SEPARATORS) for _ in range(draw.randint(1, 7)))


def _disturbed_caption(draw: random.Random) -> str:
    """An ordinary caption with some of its words replaced, joined by, followed by or enclosed in something odd."""
    words = draw.choice(CAPTIONS).split()
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(words))
        odd = piece(draw)
        words[place] = draw.choice(
            [odd, words[place] + odd, odd + words[place], f"{words[place]} {odd}", words[place].upper()]
        )
    return " ".join(words)


def _glued_captions(draw: random.Random) -> str:
    between = draw.choice([*_ENDS, ". ", " - ", "--", "–", ". . ."])
    return draw.choice(CAPTIONS).rstrip(" .!") + between + draw.choice(CAPTIONS)


def _mangled_characters(draw: random.Random) -> str:
    """A caption with single characters changed."""
    characters = list(draw.choice([draw.choice(CAPTIONS), _mixture(draw)]))
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(characters) + 1)
        characters.insert(place, draw.choice([_sign, _any_character])(draw))
    return "".join(characters)


def odd_strings(count: int, seed: int) -> list[str]:
    """`count` captions, the same for the same seed; none holds a line's end, which pycocoevalcap cannot stand."""
    draw = random.Random(seed)
    ways = draw.choices([_mixture, _disturbed_caption, _glued_captions, _mangled_characters], [10, 6, 1, 3], k=count)
    return ["".join(" " if c in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029" else c for c in way(draw)) for way in ways]

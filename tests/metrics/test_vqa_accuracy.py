"""VQA accuracy: each rule of the official normalisation by hand, and 10,000 sets against a second implementation."""

import random
from itertools import chain, pairwise

import pytest

from picscribe.errors import ConfigurationError, InputError
from picscribe.metrics.vqa_accuracy import Form, normalize_answer, vqa_accuracy

NORMALIZED = [
    # Case, line breaks, tabs and spaces.
    ("Yes", "yes"),
    ("  two  dogs ", "2 dogs"),
    ("red\nblue", "red blue"),
    ("red\tblue", "red blue"),
    ("\n", ""),
    ("", ""),
    ("NEW YORK", "new york"),
    # Number words; only whole words, only up to ten, "none" too.
    ("none", "0"),
    ("None", "0"),
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("TEN", "10"),
    ("eleven", "eleven"),
    ("someone", "someone"),
    ("twenty-one", "twenty 1"),
    # Articles, also alone and also where a letter is meant.
    ("the dog", "dog"),
    ("A cat and an owl", "cat and owl"),
    ("a", ""),
    ("The", ""),
    ("vitamin a", "vitamin"),
    ("there", "there"),
    # A sign becomes a space …
    ("black/white", "black white"),
    ("t-shirt", "t shirt"),
    ("snow_board", "snow board"),
    ("left;right", "left right"),
    ("(yes)", "yes"),
    ("[yes]{no}", "yes no"),
    ('"stop"', "stop"),
    ("a+b=c", "b c"),
    ("me@home", "me home"),
    ("<b>", "b"),
    ("back\\slash", "back slash"),
    ("`tick`", "tick"),
    ("yes!", "yes"),
    ("why?not", "why not"),
    ("red,blue", "red blue"),
    # … but goes without one where it stands next to a space, and then everywhere in the answer.
    ("red, blue", "red blue"),
    ("red ,blue", "red blue"),
    ("red,green, blue", "redgreen blue"),
    ("t-shirt - red", "tshirt red"),
    ("t-shirt, red", "t shirt red"),
    ("yes !", "yes"),
    (" -5", "5"),
    # A comma between digits lets every sign go without a space.
    ("1,000", "1000"),
    ("1,000,000", "1000000"),
    ("1,000/day", "1000day"),
    ("1, 000", "1 000"),
    ("1,a", "1"),
    # Full stops go unless a digit follows, whatever stands before.
    ("yes.", "yes"),
    ("u.s.a.", "usa"),
    ("2.5", "2.5"),
    (".5", ".5"),
    ("no.5", "no.5"),
    ("5.", "5"),
    ("5.pm", "5pm"),
    ("...", ""),
    ("." * 40, "." * 8),
    # What is no punctuation to the official list stays.
    ("5:30", "5:30"),
    ("100%", "100%"),
    ("$5", "$5"),
    ("dog's", "dog's"),
    ("rock & roll", "rock & roll"),
    ("#1*", "#1*"),
    # Contractions get their apostrophes back; those of capitals in the table are never met.
    ("dont", "don't"),
    ("Cant", "can't"),
    ("can't", "can't"),
    ("couldntve", "couldntve"),
    ("couldnt've", "couldn't've"),
    ("couldn'tve", "couldn't've"),
    ("yall'd've", "y'all'd've"),
    ("oclock", "o'clock"),
    ("5 oclock", "5 o'clock"),
    ("twas", "'twas"),
    ("ow's'at", "'ow's'at"),
    ("let's", "let's"),
    ("lets", "lets"),
    ("she's", "she's"),
    ("shes", "shes"),
    ("somebody'd", "somebodyd"),
    ("im", "im"),
    ("ive", "ive"),
    ("wont stop", "won't stop"),
    ("its", "its"),
    # Order: punctuation first, then numbers and articles, then contractions, each once.
    ("the-two", "2"),
    ("on.e", "1"),
    ("t.h.e", ""),
    ("don.t", "don't"),
]


@pytest.mark.parametrize(("raw", "normalized"), NORMALIZED)
def test_official_normalisation(raw: str, normalized: str) -> None:
    assert normalize_answer(raw) == normalized


@pytest.mark.parametrize(
    ("raw", "official", "textvqa"),
    [
        ("red,blue", "red blue", "redblue"),
        ("why?not", "why not", "whynot"),
        ("1,000/day", "1000day", "1000 day"),
        ("red,green, blue-ish", "redgreen blue ish", "redgreen blue ish"),
        ("dog's", "dog's", "dog 's"),
        ("let's go", "let's go", "let 's go"),
        ("Two, please!", "2 please", "2 please"),
        ("it's 5-0?", "it's 5 0", "it 's 5 0"),
        ("one?two", "1 2", "onetwo"),
        ("it'S", "it's", "it 's"),
    ],
)
def test_the_two_forms_of_normalisation(raw: str, official: str, textvqa: str) -> None:
    assert normalize_answer(raw) == official
    assert normalize_answer(raw, "textvqa") == textvqa


def accuracy(prediction: str, answers: list[str], form: Form = "vqa") -> float:
    return vqa_accuracy({"q": prediction}, {"q": answers}, form).value


@pytest.mark.parametrize(
    ("agreeing", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (5, 1), (9, 1), (10, 1)]
)
def test_score_by_number_of_ten_annotators_who_agree(agreeing: int, expected: float) -> None:
    assert accuracy("Dog.", ["dog"] * agreeing + [f"cat {n}" for n in range(10 - agreeing)]) == (
        pytest.approx(0 if agreeing == 10 else expected, abs=1e-12)
    )
    assert accuracy("dog", ["dog"] * agreeing + [f"cat {n}" for n in range(10 - agreeing)]) == (
        pytest.approx(expected, abs=1e-12)
    )


@pytest.mark.parametrize(
    ("prediction", "answer", "official", "textvqa"),
    [
        ("yes", "yes", 1, 1),
        (" yes\n", "yes", 1, 1),
        ("Yes", "yes", 0, 1),
        ("yes.", "yes", 0, 1),
        ("the end", "end", 0, 1),
        ("two", "2", 0, 1),
        ("t-shirt", "t shirt", 0, 1),
        ("The End!", " The End!", 1, 1),
        ("a", "a", 1, 1),
        ("no", "yes", 0, 0),
    ],
)
def test_where_all_annotators_agree_only_the_official_form_is_literal(
    prediction: str, answer: str, official: float, textvqa: float
) -> None:
    assert accuracy(prediction, [answer] * 10) == official
    assert accuracy(prediction, [answer] * 10, "textvqa") == textvqa


def test_answers_that_differ_only_in_spaces_at_the_ends_are_the_same() -> None:
    assert accuracy("Yes", ["yes"] * 5 + [" yes\t"] * 5) == 0
    assert accuracy("Yes", ["yes"] * 5 + ["yes."] * 5) == 1


def test_annotators_are_normalised_too() -> None:
    assert accuracy("2 dogs", ["Two dogs", "two dogs.", "the 2 dogs", "2-dogs"] + ["cat"] * 6) == 1


@pytest.mark.parametrize("nothing", ["", "  \n"])
def test_no_answer_scores_nothing(nothing: str) -> None:
    assert accuracy(nothing, ["yes"] * 10) == accuracy(nothing, ["yes"] * 5 + ["no"] * 5) == 0


@pytest.mark.parametrize(("said", "expected"), [("", 1), (" ", 1), ("yes", 0), ("the", 0)])
def test_a_question_that_all_annotators_left_empty_counts(said: str, expected: float) -> None:
    """As in the official evaluation: all wrote the same, so nothing is normalised, and only the empty answer is it."""
    assert vqa_accuracy({"1": said}, {"1": [""] * 10}).value == expected


def test_answers_of_articles_alone_are_the_empty_answer_as_in_the_official_evaluation() -> None:
    assert accuracy("a", ["the"] * 4 + ["b"] * 6) == 1


def test_other_numbers_of_annotators_by_the_same_formula() -> None:
    assert accuracy("dog", ["dog"] * 4) == 1
    assert accuracy("dog", ["dog"] * 3 + ["cat"]) == pytest.approx((3 * (2 / 3) + 1) / 4)
    assert accuracy("dog", ["dog"] + ["cat"] * 4) == pytest.approx(4 / 5 / 3)
    for few in range(1, 4):
        with pytest.raises(InputError, match=rf"'q' has {few} answers.*exact match"):
            accuracy("dog", ["dog"] * few)


def test_the_value_is_the_mean_in_the_order_of_the_answers() -> None:
    metric = vqa_accuracy({"2": "no", "1": "yes"}, {"1": ["yes"] * 10, "2": ["yes"] * 8 + ["no"] * 2})
    assert list(metric.per_item) == ["1", "2"]
    assert metric.per_item == pytest.approx({"1": 1, "2": 0.6})
    assert metric.value == pytest.approx(0.8)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'vqa' or 'textvqa', found 'gqa'"):
        accuracy("dog", ["dog"] * 10, "gqa")  # type: ignore[arg-type]


# The second implementation: sign by sign, annotator by annotator, with the official table of contractions in full.
TABLE = """
    aint>ain't arent>aren't cant>can't couldve>could've couldnt>couldn't couldn'tve>couldn't've
    couldnt've>couldn't've didnt>didn't doesnt>doesn't dont>don't hadnt>hadn't hadnt've>hadn't've hadn'tve>hadn't've
    hasnt>hasn't havent>haven't hed>he'd hed've>he'd've he'dve>he'd've hes>he's howd>how'd howll>how'll hows>how's
    Id've>I'd've I'dve>I'd've Im>I'm Ive>I've isnt>isn't itd>it'd itd've>it'd've it'dve>it'd've itll>it'll
    let's>let's maam>ma'am mightnt>mightn't mightnt've>mightn't've mightn'tve>mightn't've mightve>might've
    mustnt>mustn't mustve>must've neednt>needn't notve>not've oclock>o'clock oughtnt>oughtn't ow's'at>'ow's'at
    'ows'at>'ow's'at 'ow'sat>'ow's'at shant>shan't shed've>she'd've she'dve>she'd've she's>she's shouldve>should've
    shouldnt>shouldn't shouldnt've>shouldn't've shouldn'tve>shouldn't've somebody'd>somebodyd
    somebodyd've>somebody'd've somebody'dve>somebody'd've somebodyll>somebody'll somebodys>somebody's
    someoned>someone'd someoned've>someone'd've someone'dve>someone'd've someonell>someone'll someones>someone's
    somethingd>something'd somethingd've>something'd've something'dve>something'd've somethingll>something'll
    thats>that's thered>there'd thered've>there'd've there'dve>there'd've therere>there're theres>there's
    theyd>they'd theyd've>they'd've they'dve>they'd've theyll>they'll theyre>they're theyve>they've twas>'twas
    wasnt>wasn't wed've>we'd've we'dve>we'd've weve>we've werent>weren't whatll>what'll whatre>what're whats>what's
    whatve>what've whens>when's whered>where'd wheres>where's whereve>where've whod>who'd whod've>who'd've
    who'dve>who'd've wholl>who'll whos>who's whove>who've whyll>why'll whyre>why're whys>why's wont>won't
    wouldve>would've wouldnt>wouldn't wouldnt've>wouldn't've wouldn'tve>wouldn't've yall>y'all yall'll>y'all'll
    y'allll>y'all'll yall'd've>y'all'd've y'alld've>y'all'd've y'all'dve>y'all'd've youd>you'd youd've>you'd've
    you'dve>you'd've youll>you'll youre>you're youve>you've
"""
CONTRACTIONS = dict(pair.split(">") for pair in TABLE.split())
NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
NUMBERS |= {"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
SIGNS = {";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"}


def slow_normalize(text: str, form: Form) -> str:
    if form == "textvqa":
        text = "".join(sign for sign in text.lower() if sign not in ",?")
        text = " 's".join(text.split("'s"))
    text = "".join(" " if sign in "\n\t" else sign for sign in text).strip()
    around = list(zip(" " + text, text, text[1:] + "  ", strict=False))
    in_number = any(here == "," and before.isdecimal() and after.isdecimal() for before, here, after in around)
    beside_space = {here for here, after in pairwise(text) if after == " "}
    beside_space |= {here for before, here in pairwise(text) if before == " "}
    signs = []
    for sign in text:
        if sign not in SIGNS:
            signs.append(sign)
        elif not in_number and sign not in beside_space:
            signs.append(" ")
    kept, dropped = [], 0
    for place, sign in enumerate(signs):
        if sign == "." and not "".join(signs[place + 1 : place + 2]).isdecimal() and dropped < 32:
            dropped += 1
        else:
            kept.append(sign)
    words = []
    for word in "".join(kept).lower().split():
        word = NUMBERS.get(word, word)
        if word not in ("a", "an", "the"):
            words.append(CONTRACTIONS.get(word, word))
    return " ".join(words)


def slow_accuracy(prediction: str, answers: list[str], form: Form) -> float:
    plain = [" ".join(" ".join(answer.split("\n")).split("\t")).strip() for answer in answers]
    guess = " ".join(" ".join(prediction.split("\n")).split("\t")).strip()
    if form == "textvqa" or len(set(plain)) > 1:
        plain = [slow_normalize(answer, form) for answer in answers]
        guess = slow_normalize(prediction, form)
    scores = []
    for left_out in range(len(plain)):
        agree = [answer for place, answer in enumerate(plain) if place != left_out and answer == guess]
        scores.append(min(1, len(agree) / 3))
    return sum(scores) / len(scores)


WORDS = ["yes", "No", "dog", "dogs", "Red", "t-shirt", "1,000", "2.5", "5:30", "café", "3", "10", "u.s.a", "it's"]
WORDS += [*NUMBERS, *CONTRACTIONS, "a", "an", "the", "The", "none", "٣,٤"]


def odd_answer(source: random.Random) -> str:
    words = source.choices(WORDS, k=source.choice([1, 1, 1, 2, 3]))
    text = words[0] + "".join(source.choice([" ", " ", " ", "", "-", ", ", "/", "\n", "  "]) + w for w in words[1:])
    for _ in range(source.choice([0, 0, 0, 1, 2])):
        place = source.randrange(len(text) + 1)
        text = text[:place] + source.choice([*sorted(SIGNS), ".", ".", " ", "'", ":", "\t"]) + text[place:]
    return text


def written_again(text: str, source: random.Random) -> str:
    """The same answer as another person may write it."""
    ways = [str.upper, str.title, lambda t: t + ".", lambda t: f"the {t}", lambda t: t.replace(" ", "-"), lambda t: t]
    return source.choice([*ways, lambda t: f" {t}\n", lambda t: t.replace("1", "one")])(text)


def question_set(source: random.Random) -> tuple[str, list[str]]:
    said = [odd_answer(source) for _ in range(source.choice([1, 1, 2, 3, 6]))]
    answers = source.choices(said, k=source.choice([10, 10, 10, 10, 4, 7]))
    if source.random() < 0.7:
        answers = [written_again(answer, source) for answer in answers]
    prediction = source.choice([source.choice(answers), written_again(source.choice(said), source), odd_answer(source)])
    return ("" if source.random() < 0.02 else prediction), answers


@pytest.mark.parametrize("form", ["vqa", "textvqa"])
def test_ten_thousand_generated_sets_as_a_second_implementation(form: Form) -> None:
    source = random.Random(7)
    sets = {str(number): question_set(source) for number in range(10_000)}
    predictions = {identity: prediction for identity, (prediction, _) in sets.items()}
    answers = {identity: given for identity, (_, given) in sets.items()}
    expected = {identity: slow_accuracy(*question, form) for identity, question in sets.items()}
    ours = vqa_accuracy(predictions, answers, form)
    assert {i: s for i, s in ours.per_item.items() if abs(s - expected[i]) > 1e-12} == {}
    assert ours.value == pytest.approx(sum(expected.values()) / len(expected), abs=1e-12)
    assert 0.3 < ours.value < 0.9, "the sets have to try right and wrong answers"
    assert len({round(score, 6) for score in expected.values()}) > 8
    for text in chain.from_iterable([prediction, *given] for prediction, given in sets.values()):
        assert normalize_answer(text, form) == slow_normalize(text, form), text

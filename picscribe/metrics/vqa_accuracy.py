"""VQA accuracy (Antol et al., ICCV 2015): how many of ten annotators a predicted answer agrees with.

Each annotator in turn is left out; against the others an answer scores min(1, how many of them gave it / 3); the mean
over the annotators counts. With ten of them 0, 1, 2, 3 and at least 4 agreeing give 0, 0.3, 0.6, 0.9 and 1.

Two forms are in use, which differ in how answers are made comparable. "vqa" is the official evaluation of VQA v1 and
v2 (github.com/GT-Vision-Lab/VQA, vqaEval.py at commit a013f00). Its oddities are kept, because they are part of the
published figures:

- Where all annotators wrote the same, nothing is normalised beyond line breaks, tabs and spaces at the ends: the
  prediction has to be that text, with its capitals, articles and punctuation.
- A punctuation sign becomes a space, except where it is next to a space anywhere in the answer (then it goes from
  everywhere), and except where the answer has a comma between digits ("1,000"; then every sign goes).
- A full stop goes unless a digit follows, in 32 places at most; colons, apostrophes, percent and dollar signs stay.
- "none" is 0. "a", "an" and "the" go even where they are the whole answer, so that "a" equals "the", and "".
- Contractions written without their apostrophe get it back ("dont"), but "somebody'd" becomes "somebodyd".

"textvqa" is the evaluation of TextVQA (github.com/facebookresearch/mmf, m4c_evaluators.py): always normalised, in
lower case from the start, commas and question marks dropped first, "'s" set apart as a word; then as above. The
figures differ: for ten times "yes", the prediction "Yes!" is right in this form only.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from picscribe.errors import ConfigurationError, InputError
from picscribe.metrics.metric import Metric, mean_metric
from picscribe.metrics.pairs import AnswerPair, pair_answers

Form = Literal["vqa", "textvqa"]

ENOUGH = 3
"""So many other annotators who gave the answer make it fully right."""

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_MOST_FULL_STOPS = 32
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_ARTICLES = {"a", "an", "the"}
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS)}
_WITH_APOSTROPHES = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
# The official table's misspellings are these words with any one apostrophe left out, and one entry the other way round.
_CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in _WITH_APOSTROPHES.split()
    for place, sign in enumerate(word)
    if sign == "'"
} | {"somebody'd": "somebodyd"}


def vqa_accuracy(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]], form: Form = "vqa") -> Metric:
    """The mean over the questions of VQA accuracy, 0 to 1, not rounded (the official evaluation prints 100 times it,
    with two decimals).

    `predictions`: one raw answer a question id, "" where there is none. `answers`: those of the annotators, usually
    ten, at least 4: each is held against the others, so that with fewer than 4 even the answer they all gave could
    not score 1. With other numbers than ten the same formula holds. Raises InputError where the ids differ or a
    question has too few answers, ConfigurationError for an unknown form.
    """
    if form not in ("vqa", "textvqa"):
        raise ConfigurationError(f"form must be 'vqa' or 'textvqa', found {form!r}")
    pairs = pair_answers(predictions, answers)
    for identity, pair in pairs.items():
        if len(pair.answers) <= ENOUGH:
            raise InputError(
                f"question {identity!r} has {len(pair.answers)} answers; VQA accuracy compares annotators with each "
                f"other and needs at least {ENOUGH + 1} (the data sets have 10): use exact match"
            )
    return mean_metric({identity: _agreement(*_comparable(pair, form)) for identity, pair in pairs.items()})


def normalize_answer(answer: str, form: Form = "vqa") -> str:
    """The answer as the official evaluation compares it: "The two dogs." → "2 dogs"."""
    if form == "textvqa":
        answer = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    words = _strip_punctuation(_on_one_line(answer)).lower().split()
    numbered = (_DIGITS.get(word, word) for word in words)
    return " ".join(_CONTRACTIONS.get(word, word) for word in numbered if word not in _ARTICLES)


def _comparable(pair: AnswerPair, form: Form) -> tuple[str, list[str]]:
    answers = [_on_one_line(answer) for answer in pair.answers]
    if form == "vqa" and len(set(answers)) == 1:
        return _on_one_line(pair.prediction), answers
    return normalize_answer(pair.prediction, form), [normalize_answer(answer, form) for answer in pair.answers]


def _agreement(prediction: str, answers: Sequence[str]) -> float:
    agreeing = answers.count(prediction)
    others = len(answers) - agreeing
    one_of_them_left_out = agreeing * min(1.0, (agreeing - 1) / ENOUGH)
    return (one_of_them_left_out + others * min(1.0, agreeing / ENOUGH)) / len(answers)


def _on_one_line(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def _strip_punctuation(answer: str) -> str:
    number = _COMMA_IN_NUMBER.search(answer) is not None
    stripped = answer
    for sign in _PUNCTUATION:
        beside_space = f"{sign} " in answer or f" {sign}" in answer
        stripped = stripped.replace(sign, "" if number or beside_space else " ")
    return _FULL_STOP.sub("", stripped, count=_MOST_FULL_STOPS)

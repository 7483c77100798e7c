"""The page of an evaluation: one HTML file for people, which needs no network and no script."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from picscribe.evaluation.cards import card_list, written_scores
from picscribe.evaluation.charts import length_histogram
from picscribe.evaluation.provenance import command, provenance
from picscribe.evaluation.results import Item, Report
from picscribe.evaluation.warning_signs import most_frequent, warning_signs
from picscribe.markup import Markup, document, element, join, quoted, section, shorten, table, warnings
from picscribe.metrics.ptb_tokenizer import tokenize

if TYPE_CHECKING:
    from PIL.Image import Image

OpenPicture = Callable[[Item], "Image | None"]

MOST_ITEMS = 8
MOST_FREQUENT = 10
MOST_ERRORS = 100

MEANINGS = {
    "CIDEr": "likeness to the references, words that are said of few images counting most; 1.0 is 100 points",
    "BLEU-1": "share of the words said that a reference has too, less for too short a caption",
    "BLEU-2": "the same, of runs of up to two words",
    "BLEU-3": "the same, of runs of up to three words",
    "BLEU-4": "the same, of runs of up to four words",
    "ROUGE-L": "longest sequence of words in common with a reference",
    "METEOR": "words in common with a reference, with their stems and synonyms",
    "SPICE": "objects, attributes and relations in common with the references",
    "named things": "share of the photos whose caption names a thing that three fifths of the references name",
    "distinct": "share of different captions; near 0 where the model says the same of every image",
    "vocabulary": "share of the references' words that the predictions use",
    "vqa-accuracy": "share of the annotators' agreement that the answers earn, as the VQA challenge counts it",
    "textvqa-accuracy": "the same, with answers made comparable as TextVQA does",
    "exact-match": "share of the answers that are a reference, word for word",
    "scene-text": "share of the answers that are a reference, but for case and punctuation",
    "top-1": "share of the predictions that are the class's name",
    "equal": "the same, but for case and spaces, or one of the name's synonyms",
    "in": "share of the predictions that hold the class's name",
    "CIDEr shuffled": "CIDEr with the predictions handed to other images; near CIDEr where images are ignored",
}
"""What a score is, in one clause."""


def report_page(report: Report, items: Sequence[Item], open_picture: OpenPicture) -> str:
    """The page of an evaluation; the same input gives the same bytes.

    `open_picture` gives an item's photo, or None where there is none to show.
    """
    split = f", {report.data['split']}" if report.data["split"] else ""
    title = f"{report.model['name']} on {PurePath(report.data['path']).name}{split}"
    return document(
        shorten(title),
        element("p", f"{len(items):,} examples, {report.seconds:,.0f} seconds", class_="soft"),
        *warnings(warning_signs(report.scores, items)),
        section("Scores", _scores(report)),
        *_calibration(report),
        *_lengths(items),
        *_extremes(report, items, open_picture),
        *_most_frequent(items),
        *_errors(items),
        section("How this was made", *_origin(report)),
    )


def _scores(report: Report) -> Markup:
    level = f"{report.resampling['level'] * 100:g} %"
    rows = []
    for name, score in report.scores.items():
        interval = "{:.4f} to {:.4f}".format(*report.intervals[name]) if name in report.intervals else ""
        named = join([shorten(name), element("span", MEANINGS.get(name, ""), class_="meaning")])
        rows.append([named, f"{score:.4f}", interval])
    caption = f"The interval holds {level} of the scores of resamples of these examples."
    return table(caption, ["score", "value", f"{level} interval"], rows, numbers=(1, 2))


def _calibration(report: Report) -> list[Markup]:
    if not report.calibration:
        return []
    rows = calibration_rows(report.calibration)
    caption = "What a threshold, such as caption --min-confidence, keeps, and how right it is."
    return [section("Confidence", table(caption, rows[0], rows[1:], numbers=(1, 2, 3)))]


def calibration_rows(calibration: Mapping[str, Any]) -> list[list[str]]:
    """A head, then a row for each threshold: the threshold, the answers kept, their share, how right they are."""
    rows = [["confidence", "kept", "share", str(calibration["metric"])]]
    for level in calibration["levels"]:
        least = f"at least {level['threshold']:g}" if level["threshold"] else "any"
        right = "" if level["right"] is None else f"{level['right']:.1%}"
        rows.append([least, f"{level['kept']:,}", f"{level['share']:.1%}", right])
    return rows


def _lengths(items: Sequence[Item]) -> list[Markup]:
    predictions = [len(tokenize(item.prediction)) for item in items if not item.error]
    references = [len(tokenize(text)) for item in items for text in item.references]
    if not predictions or not references:
        return []
    return [section("Lengths", length_histogram(predictions, references))]


def _extremes(report: Report, items: Sequence[Item], open_picture: OpenPicture) -> list[Markup]:
    usable = [item for item in items if not item.error]
    metric = next((name for name in report.scores if usable and name in usable[0].scores), None)
    if metric is None:
        return []
    ranked = sorted(usable, key=lambda item: -item.scores[metric])

    def part(title: str, shown: Sequence[Item]) -> Markup:
        return section(title, card_list(shown, open_picture, _said))

    if len(ranked) <= 3 * MOST_ITEMS:
        return [part(f"All examples, best first by {metric}", ranked)]
    middle = (len(ranked) - MOST_ITEMS) // 2
    return [
        part(f"Best by {metric}", ranked[:MOST_ITEMS]),
        part(f"Worst by {metric}", ranked[: -MOST_ITEMS - 1 : -1]),
        part(f"In the middle by {metric}", ranked[middle : middle + MOST_ITEMS]),
    ]


def _said(item: Item) -> list[Markup]:
    return [quoted(item.prediction, class_="said"), written_scores(item.scores)]


def _most_frequent(items: Sequence[Item]) -> list[Markup]:
    frequent = most_frequent(items, MOST_FREQUENT)
    if not frequent:
        return []
    rows = [[quoted(said, "span"), f"{count:,}", f"{count / len(items):.1%}"] for said, count in frequent]
    caption = "A model that says the same of many images may have learned what people say, not what it sees."
    return [section("Most frequent predictions", table(caption, ["prediction", "times", "share"], rows, (1, 2)))]


def _errors(items: Sequence[Item]) -> list[Markup]:
    failed = [item for item in items if item.error]
    if not failed:
        return []
    caption = f"{len(failed):,} examples, which count as an empty prediction"
    if len(failed) > MOST_ERRORS:
        caption += f"; the first {MOST_ERRORS} of them"
    rows = [[shorten(item.id), shorten(item.error)] for item in failed[:MOST_ERRORS]]
    return [section("Could not be used", table(caption, ["example", "why"], rows))]


def _origin(report: Report) -> list[Markup]:
    again = element("p", "Again: ", element("code", command(report)))
    parts = provenance(report).items()
    return [
        again,
        *(
            table(part, ["what", "value"], [(name, shorten(value)) for name, value in values.items()])
            for part, values in parts
        ),
    ]

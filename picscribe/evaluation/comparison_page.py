"""The page of a comparison: one HTML file with what two runs said of the same examples side by side."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from picscribe.evaluation.cards import card_list, written_scores
from picscribe.evaluation.comparison import Change, Comparison, Difference
from picscribe.markup import Markup, document, element, quoted, section, table

if TYPE_CHECKING:
    from PIL.Image import Image


def comparison_page(comparison: Comparison, open_picture: "Callable[[Change], Image | None]") -> str:
    """The page of a comparison; the same input gives the same bytes.

    `open_picture` gives an example's photo, or None where there is none to show.
    """

    def changes(title: str, shown: Sequence[Change]) -> list[Markup]:
        return [section(title, card_list(shown, open_picture, _said))] if shown else []

    return document(
        "Two runs compared",
        element("p", element("strong", "A "), element("code", comparison.first)),
        element("p", element("strong", "B "), element("code", comparison.second)),
        element("p", count_line(comparison), class_="soft"),
        section("Scores", _scores(comparison)),
        *_settings(comparison),
        *changes(f"Where B is furthest above A by {comparison.metric}", comparison.better),
        *changes(f"Where B is furthest below A by {comparison.metric}", comparison.worse),
    )


def count_line(comparison: Comparison) -> str:
    """How many examples there are, and in how many A or B is better."""
    return (
        f"{comparison.examples:,} examples, {comparison.same_text:,} with the same text; "
        f"by {comparison.metric} A is better in {comparison.first_better:,}, B in {comparison.second_better:,}"
    )


def score_row(score: Difference) -> list[str]:
    """Metric, A, B, difference, interval, p-value, as text."""
    row = [score.metric, f"{score.first:.4f}", f"{score.second:.4f}", f"{score.difference:+.4f}"]
    if score.interval is None or score.p_value is None:
        return [*row, "", ""]
    return [*row, f"{score.interval[0]:+.4f} to {score.interval[1]:+.4f}", f"{score.p_value:.4f}"]


def score_heads(comparison: Comparison) -> list[str]:
    """The heads of the columns that `score_row` fills."""
    return ["score", "A", "B", "B − A", f"{comparison.resampling.level * 100:g} % interval", "p"]


def _scores(comparison: Comparison) -> Markup:
    caption = "p: how often a difference as large comes about by the choice of examples, if A and B were equal"
    rows = [score_row(score) for score in comparison.scores]
    return table(caption, score_heads(comparison), rows, numbers=range(1, 6))


def _settings(comparison: Comparison) -> list[Markup]:
    if not comparison.settings:
        return []
    caption = "What else the two runs differ in"
    return [section("Made differently", table(caption, ["what", "A", "B"], comparison.settings))]


def _said(change: Change) -> list[Markup]:
    return [
        element("p", element("strong", "A"), class_="small first"),
        quoted(change.first, class_="said"),
        written_scores(change.first_scores),
        element("p", element("strong", "B"), class_="small second"),
        quoted(change.second, class_="said"),
        written_scores(change.second_scores),
    ]

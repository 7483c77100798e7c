"""A page of some of the pairs that went, by rule; of offensive words only the first letter."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from picscribe.curation.rules import TextRules
from picscribe.datasets import Example
from picscribe.errors import PicscribeError
from picscribe.markup import Markup, document, element, join, quoted, section, shorten, table, thumbnail
from picscribe.media.images import open_image

if TYPE_CHECKING:
    from picscribe.curation.curating import Dropped


def dropped_page(
    result: Mapping[str, Any], shown: Mapping[str, Sequence[tuple[Example, "Dropped"]]], rules: TextRules
) -> str:
    """A self-contained HTML page: the counts, and a table of pairs for each rule."""
    counts = [(rule, f"{count:,}") for rule, count in result["dropped"].items()]
    kept = (
        f"{result['kept']:,} of {result['pairs']:,} pairs stay, "
        f"of {result['images_kept']:,} of {result['images']:,} images."
    )
    return document(
        "What was dropped",
        element("p", kept),
        table("Each pair counts for the first rule that it breaks.", ["rule", "pairs"], counts, numbers=(1,)),
        *(section(rule, _pairs(rule, pairs, rules)) for rule, pairs in shown.items()),
    )


def _pairs(rule: str, pairs: Sequence[tuple[Example, "Dropped"]], rules: TextRules) -> Markup:
    rows = [
        (
            join([_picture(example), element("span", shorten(gone.id), class_="small")]),
            quoted(rules.masked(gone.text), "span"),
            shorten(rules.masked(gone.what)),
        )
        for example, gone in pairs
    ]
    return table(f"Pairs that break the rule {rule}", ["image", "text", "why"], rows)


def _picture(example: Example) -> Markup:
    try:
        return thumbnail(open_image(example.image()), "")
    except PicscribeError:
        return Markup("")

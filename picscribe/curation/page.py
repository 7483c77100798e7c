"""A page of some of the pairs that went, by rule; of offensive words only the first letter."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from picscribe.curation.rules import TextRules
from picscribe.datasets import Example
from picscribe.errors import PicscribeError
from picscribe.media.images import open_image

if TYPE_CHECKING:
    from picscribe.curation.curating import Dropped

HEIGHT = 120
"""Pixels that photos are shown in."""

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .6rem; vertical-align: top }
tr { border-top: 1px solid #ddd } img { max-height: 120px; max-width: 200px; display: block }
.what { color: #8a1c1c } .id { color: #666; font-size: 13px; overflow-wrap: anywhere }
"""


def dropped_page(
    result: Mapping[str, Any], shown: Mapping[str, Sequence[tuple[Example, "Dropped"]]], rules: TextRules
) -> str:
    """HTML that stands alone: the counts, and a table of pairs a rule."""
    head = (
        f"{result['kept']:,} of {result['pairs']:,} pairs stay, "
        f"of {result['images_kept']:,} of {result['images']:,} images"
    )
    counts = "".join(f"<tr><td>{rule}</td><td>{count:,}</td></tr>" for rule, count in result["dropped"].items())
    tables = "".join(_table(rule, pairs, rules) for rule, pairs in shown.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>What was dropped</title>'
        f"<style>{STYLE}</style><h1>What was dropped</h1><p>{head}.</p><table>{counts}</table>{tables}</html>\n"
    )


def _table(rule: str, pairs: Sequence[tuple[Example, "Dropped"]], rules: TextRules) -> str:
    rows = "".join(_row(example, gone, rules) for example, gone in pairs)
    return f"<h2>{rule}</h2><table><tr><th>image</th><th>text</th><th>why</th></tr>{rows}</table>"


def _row(example: Example, gone: "Dropped", rules: TextRules) -> str:
    text, why = (html.escape(rules.masked(part)) for part in (gone.text, gone.what))
    return (
        f'<tr><td>{_picture(example)}<span class="id">{html.escape(gone.id)}</span></td>'
        f'<td>{text}</td><td class="what">{why}</td></tr>'
    )


def _picture(example: Example) -> str:
    try:
        image = open_image(example.image())
    except PicscribeError:
        return ""
    image.thumbnail((2 * HEIGHT, HEIGHT))
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}">'

"""Self-contained HTML and SVG pages; text from anywhere is escaped unless it was built here."""

import base64
import html
import io
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

VOID = frozenset({"img", "meta"})
KEPT_INVISIBLE = "\u200c\u200d"
"""Joiners that scripts and emoji are written with."""

MOST_CHARACTERS = 500

EDGE = 224
"""Pixels of a thumbnail's longer edge at most."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

STYLE = """
:root { color-scheme: light dark; --ink: #1b1e23; --soft: #565d67; --paper: #fff; --card: #f5f6f8; --line: #d5d9df;
  --first: #0072b2; --second: #b84a00; --alarm: #fff3d6; --alarm-line: #b26b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a5adb8; --paper: #15171a; --card: #1f2226;
  --line: #3a3f46; --first: #56b4e9; --second: #f0a04b; --alarm: #33270d; --alarm-line: #e0a030; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 75rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h1, p, td, li, dd, code { overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.scroll { overflow-x: auto; }
.scroll + .scroll { margin-top: 1.2rem; }
.note { background: var(--alarm); border-left: .3rem solid var(--alarm-line); padding: .5rem .8rem; margin: .8rem 0; }
table { border-collapse: collapse; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
.meaning { display: block; font-weight: 400; font-size: .85rem; color: var(--soft); }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
code { background: var(--card); padding: .1rem .3rem; font-family: ui-monospace, monospace; }
ul.cards { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); }
.cards > li { background: var(--card); border: 1px solid var(--line); border-radius: .4rem; padding: .8rem; }
.cards img { display: block; margin: 0 auto .6rem; max-width: 100%; height: auto; }
.cards p { margin: .2rem 0; }
.cards ul { margin: .2rem 0; padding-left: 1.1rem; color: var(--soft); font-size: .9rem; }
.said { font-weight: 600; }
.small { font-size: .8rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.together { white-space: nowrap; }
svg { display: block; width: 100%; max-width: 38rem; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--ink); }
.grid { stroke: var(--line); }
.bar { fill: var(--first); }
.outline { fill: none; stroke: var(--second); stroke-width: 2; }
"""


class Markup(str):
    """Markup that is safe as it stands; any other text is escaped where it meets markup."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: object) -> Markup:
    """`<tag …>content</tag>`; an attribute is written `class_` for class, `text_anchor` for text-anchor."""
    named = "".join(f' {name.rstrip("_").replace("_", "-")}="{escape(str(v))}"' for name, v in attributes.items())
    if tag in VOID:
        return Markup(f"<{tag}{named}>")
    return Markup(f"<{tag}{named}>{join(content)}</{tag}>")


def join(content: Sequence[str]) -> Markup:
    """The pieces one after the other, escaped where they are not markup."""
    return Markup("".join(piece if isinstance(piece, Markup) else escape(piece) for piece in content))


def escape(text: str) -> Markup:
    """`text` without any power over the page: what is invisible or turns the direction of writing is spelled out."""
    return Markup(html.escape("".join(map(_visible, text)), quote=True))


def _visible(character: str) -> str:
    if character in " \t\n\r":
        return " "
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in KEPT_INVISIBLE
    return f"[U+{ord(character):04X}]" if hidden else character


def shorten(text: str) -> str:
    """At most 500 characters of `text`, and how many there are."""
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}… ({len(text):,} characters)"


def quoted(text: str, tag: str = "p", **attributes: object) -> Markup:
    """Somebody's words, of whatever language and direction."""
    return element(tag, shorten(text) if text.strip() else "(empty)", dir="auto", lang="", **attributes)


def thumbnail(picture: "Image", description: str) -> Markup:
    """The picture as a JPEG within the page."""
    small = picture.convert("RGB")
    small.thumbnail((EDGE, EDGE))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    content = base64.b64encode(stream.getvalue()).decode("ascii")
    return element(
        "img", src=f"data:image/jpeg;base64,{content}", alt=description, width=small.width, height=small.height
    )


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> Markup:
    """A table whose first column names the rows; `numbers` are the columns to align at their right."""

    def cell(tag: str, column: int, content: str, **attributes: object) -> Markup:
        return element(tag, content, **attributes, **({"class": "number"} if column in numbers else {}))

    heads = [cell("th", column, name, scope="col") for column, name in enumerate(head)]
    body = [
        element(
            "tr",
            cell("th", 0, row[0], scope="row"),
            *(cell("td", column, content) for column, content in enumerate(row[1:], 1)),
        )
        for row in rows
    ]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *body),
    )
    # Reached by keyboard, so that what does not fit can be scrolled to.
    return element("div", whole, class_="scroll", tabindex=0, role="group", aria_label=caption)


def section(title: str, *content: str) -> Markup:
    """A part of the page under its heading."""
    return element("section", element("h2", title), *content)


def warnings(texts: Sequence[str]) -> list[Markup]:
    """A highlighted paragraph for each."""
    return [element("p", element("strong", "Warning: "), shorten(text), class_="note") for text in texts]


def document(title: str, *content: str) -> str:
    """The whole page: it loads nothing, runs nothing, and follows the reader's choice of light or dark."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    body = element("body", element("main", element("h1", title), *content))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"

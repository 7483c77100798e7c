"""One example on a page: its picture, what was said of it, and what people said."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from picscribe.evaluation.markup import Markup, element, shorten

if TYPE_CHECKING:
    from PIL.Image import Image

EDGE = 224
"""Pixels of a thumbnail's longer edge at most."""

MOST_REFERENCES = 10


class Shown(Protocol):
    """What every card has: an example of one run or of two."""

    @property
    def id(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def references(self) -> tuple[str, ...]: ...


AnyShown = TypeVar("AnyShown", bound=Shown)


def card_list(
    examples: Sequence[AnyShown],
    open_picture: "Callable[[AnyShown], Image | None]",
    said: Callable[[AnyShown], Sequence[Markup]],
) -> Markup:
    """A list of the examples; `said` gives what stands between an example's picture and its references."""
    return element("ul", *(_card(each, open_picture(each), said(each)) for each in examples), class_="cards")


def _card(example: Shown, picture: "Image | None", said: Sequence[Markup]) -> Markup:
    named = shorten(example.id)
    shown = thumbnail(picture, f"Photo {named}") if picture else element("p", "no picture", class_="small")
    question = [quoted(example.question)] if example.question else []
    references = [quoted(text, "li") for text in example.references[:MOST_REFERENCES]]
    if len(example.references) > MOST_REFERENCES:
        references.append(element("li", f"and {len(example.references) - MOST_REFERENCES:,} more"))
    name = element("p", named, class_="small", dir="auto")
    return element("li", shown, name, *question, *said, element("ul", *references, aria_label="References"))


def quoted(text: str, tag: str = "p", **attributes: object) -> Markup:
    """Somebody's words, of whatever language and direction."""
    return element(tag, shorten(text) if text.strip() else "(empty)", dir="auto", lang="", **attributes)


def written_scores(scores: dict[str, float]) -> Markup:
    """The scores in a line, in their order."""
    pairs = [element("span", f"{name} {score:.3f}", class_="together") for name, score in scores.items()]
    return element("p", Markup(" · ".join(pairs)), class_="small")


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

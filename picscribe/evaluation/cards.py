"""One example on a page: its picture, what was said of it, and what people said."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from picscribe.markup import Markup, element, quoted, shorten, thumbnail

if TYPE_CHECKING:
    from PIL.Image import Image

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
    """A list of the examples; `said` gives what is shown between an example's picture and its references."""
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


def written_scores(scores: dict[str, float]) -> Markup:
    """The scores in a line, in their order."""
    pairs = [element("span", f"{name} {score:.3f}", class_="together") for name, score in scores.items()]
    return element("p", Markup(" · ".join(pairs)), class_="small")

"""Pages for people: a sample of results to look at before the whole, and a review whose edits are written back."""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from picscribe.bulk.entries import Entry, printable, texts_of
from picscribe.bulk.failures import EntryError, Failure
from picscribe.bulk.inputs.fetching import content_of
from picscribe.bulk.work import confidence_of
from picscribe.errors import InputError, PicscribeError
from picscribe.markup import EDGE, POLICY, Markup, document, element, quoted, thumbnail
from picscribe.text_files import read_json

MOST = 500
"""Photos on a review page: more come when these are applied."""

SCRIPT = """
document.getElementById("save").onclick = () => {
  const edits = [...document.querySelectorAll("li[data-entry]")]
    .filter(card => card.querySelector("input").checked)
    .map(card => ({entry: Number(card.dataset.entry), text: card.querySelector("textarea").value}));
  const said = JSON.stringify({job: document.getElementById("save").dataset.job, edits}, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([said], {type: "application/json"}));
  link.download = "edits.json";
  link.click();
};
"""

TEXTAREA = (
    "textarea { width: 100%; font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line); }"
)


def sample_page(title: str, found: Iterable[tuple[Entry, Mapping[str, Any] | None, Failure | None]], most: int) -> str:
    """A contact sheet: each photo with what was found of it, or why nothing was. most: bytes of a photo."""
    cards = [_card(entry, most, *_said(value, failure)) for entry, value, failure in found]
    return document(
        title,
        element("p", f"{len(cards)} photos by chance. Nothing is written to any output yet.", class_="soft"),
        element("ul", *cards, class_="cards"),
    )


def _said(value: Mapping[str, Any] | None, failure: Failure | None) -> list[Markup]:
    if value is None:
        return [element("p", f"{failure.kind}: {failure.reason}" if failure else "", class_="note")]
    return [*(quoted(text, class_="said") for text in texts_of(value)), _confidence(value)]


def review_page(job: str, held: Iterable[tuple[Entry, Mapping[str, Any]]], all_held: int, most: int) -> str:
    """Unsure photos with texts to edit; its button saves edits.json, which `picscribe bulk apply` reads."""
    cards = []
    for entry, value in held:
        box = element("input", type="checkbox", checked="checked", aria_label="write this one")
        text = element("textarea", "\n".join(texts_of(value)), rows=3, aria_label="text", spellcheck="true")
        label = element("label", box, " write it")
        cards.append(_card(entry, most, text, element("p", label), _confidence(value), data_entry=entry.number))
    button = element("button", "Save edits.json", id="save", type="button", data_job=job)
    more = f" {all_held - len(cards):,} more come when these are applied." if all_held > len(cards) else ""
    page = document(
        f"{all_held:,} photos to look at",
        element(
            "p",
            f"Edit, untick what is not to be written, save, then: picscribe bulk apply JOB edits.json.{more}",
        ),
        element("p", button),
        element("ul", *cards, class_="cards"),
        element("style", Markup(TEXTAREA)),
        element("script", Markup(SCRIPT)),
    )
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    before = html.escape(POLICY, quote=True)
    # The page's own script runs, and no other.
    return page.replace(before, html.escape(f"{POLICY}; script-src 'sha256-{digest}'", quote=True), 1)


def _confidence(value: Mapping[str, Any]) -> Markup:
    confidence = confidence_of(value)
    return element("p", "" if confidence is None else f"confidence {confidence:.2f}", class_="small")


def _card(entry: Entry, most: int, *content: Markup, **attributes: object) -> Markup:
    return element(
        "li", _picture(entry, most), element("p", printable(entry.path), class_="small"), *content, **attributes
    )


def _picture(entry: Entry, most: int) -> Markup:
    from picscribe.media import open_image
    from picscribe.media.video import is_video, read_frames

    try:
        source: Any = content_of(entry, most) if entry.part or entry.remote else entry.source
        frames = read_frames(source, 1) if is_video(source) else [open_image(source, at_least=EDGE)]
        return thumbnail(frames[0], "")
    except (PicscribeError, EntryError):
        return element("p", "(no picture)", class_="soft")


def read_edits(path: Path, job: str) -> list[tuple[int, str]]:
    """Numbers of entries and their texts, as the review page saves them. Raises InputError for anything else."""
    said = read_json(path)
    edits = said.get("edits") if isinstance(said, dict) else None
    if not isinstance(edits, list) or not all(_is_edit(one) for one in edits):
        raise InputError(f"{path}: is not what a review page saves: press its button, and give edits.json")
    if isinstance(said, dict) and said.get("job") != job:
        raise InputError(f"{path}: its edits are of another job: name the job whose review.html they are from")
    return [(one["entry"], one["text"]) for one in edits]


def _is_edit(said: object) -> bool:
    return (
        isinstance(said, dict)
        and isinstance(said.get("entry"), int)
        and not isinstance(said["entry"], bool)
        and isinstance(said.get("text"), str)
    )


def first_held(held: Iterable[Entry], result_of: Any) -> Sequence[tuple[Entry, Mapping[str, Any]]]:
    """The first entries that wait for a person, with what was found of them."""
    from itertools import islice

    return [(entry, result_of(entry)) for entry in islice(held, MOST)]

"""`picscribe classify`: photos in, for each the likeliest of given labels out."""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from picscribe.cli.options.groups import grouped
from picscribe.cli.options.loading import LoadingOptions, Model, Revision
from picscribe.cli.options.service import warn
from picscribe.cli.output.terminal import Bar, report, write_line
from picscribe.errors import PicscribeError

if TYPE_CHECKING:
    from picscribe.cli.options.photos import Photo
    from picscribe.results import Classification
    from picscribe.scribe import Scribe
    from picscribe.text.labels import Labels

LABELS = "labels: "
"""How a service begins what is odd about labels."""
NOTES = 5
"""How many oddities of labels are listed one by one."""


@grouped
def classify(
    *,
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO|FOLDER|-", show_default=False, help="Images, folders of images, or - for standard input."
        ),
    ],
    labels: Annotated[Path, typer.Option(help="A file with the names of the classes: UTF-8 text, one name a line.")],
    top_k: Annotated[
        int, typer.Option(min=1, help="How many labels to print for each photo, the likeliest first.")
    ] = 1,
    greedy: Annotated[
        bool,
        typer.Option(
            "--greedy", help="Choose the label word by word, as the original code does; gives no probabilities."
        ),
    ] = False,
    prompt: Annotated[str | None, typer.Option(show_default=False, help="Words that come before the label.")] = None,
    model: Model = "nano",
    revision: Revision = None,
    json_lines: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object for each photo.")] = False,
    loading: LoadingOptions,
) -> None:
    """Classify each photo: print the label that the model finds most likely.

    Prints label, tab, probability, one line for each label of --top-k; for several photos, the path and a tab first.
    Warns about duplicate labels, empty lines and words that the model does not know.

    PICSCRIBE_SERVER=http://host:8000 has a running `picscribe serve` compute it; PICSCRIBE_API_KEY holds its key.
    """
    from picscribe.cli.options.photos import find_photos
    from picscribe.cli.options.service import RemoteScribe, server_address
    from picscribe.text.labels import read_labels

    names = read_labels(labels)
    scribe = loading.open(model, revision, ["--greedy"] if greedy else [])
    found = find_photos(photos, sent=bool(server_address()))
    sources = (photo.source for photo in found)
    if isinstance(scribe, RemoteScribe):
        noted = partial(_report_remote_notes, labels)
        results = scribe.classifications(sources, names, top_k=top_k, prompt=prompt, noted=noted)
    else:
        known = _known_labels(scribe, names, labels)
        results = scribe.classifications(
            sources, known, top_k=top_k, exact=not greedy, prompt=prompt, batch_size=loading.batch_size, errors="return"
        )
    failures = 0
    with Bar(len(found)) as bar:
        for photo, result in zip(found, results, strict=True):
            failures += isinstance(result, PicscribeError)
            with bar.advance(1):
                _show(photo, result, json_lines, len(found) > 1)
    if failures:
        raise typer.Exit(1)


def _known_labels(scribe: "Scribe", names: Sequence[str], file: Path) -> "Labels":
    """Labels as the model sees them, once what is odd about them is reported."""
    from picscribe.text.labels import Labels

    known = Labels.of(scribe.tokenizer, names, str(file))
    _report_notes(file, known.notes)
    return known


def _report_remote_notes(file: Path, notes: Sequence[str]) -> None:
    """Notes of a service, which does not know the file; those of the prompt are warnings, as they are without it."""
    of_labels = [note for note in notes if note.startswith(LABELS)]
    warn([note for note in notes if not note.startswith(LABELS)])
    _report_notes(file, [f"{file}: {note.removeprefix(LABELS)}" for note in of_labels])


def _report_notes(file: Path, notes: Sequence[str]) -> None:
    for note in notes[:NOTES]:
        report(note)
    if len(notes) > NOTES:
        report(f"{file}: {len(notes) - NOTES} more lines like these")


def _show(photo: "Photo", result: "Classification | PicscribeError", as_json: bool, several: bool) -> None:
    if isinstance(result, PicscribeError):
        report(result)
        if as_json:
            write_line(json.dumps({"path": photo.path, "error": str(result)}))
        return
    if as_json:
        ranking = [
            {
                "label": one.label,
                "log_likelihood": one.log_likelihood,
                "probability": None if math.isnan(one.probability) else one.probability,
            }
            for one in result.ranking
        ]
        write_line(json.dumps({"path": photo.path, "label": result.label, "ranking": ranking}))
        return
    for one in result.ranking:
        parts = (
            [photo.path] * several + [one.label] + ([] if math.isnan(one.probability) else [f"{one.probability:.4f}"])
        )
        write_line("\t".join(parts))

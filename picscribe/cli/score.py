"""`picscribe score`: how likely given texts are for a photo; pairs of a file, to rank or to filter them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from picscribe.cli.options.groups import grouped
from picscribe.cli.options.loading import LoadingOptions, Model, Revision
from picscribe.cli.output.terminal import Bar, report, write_line
from picscribe.errors import ConfigurationError, PicscribeError

if TYPE_CHECKING:
    from picscribe.cli.options.service import RemoteScribe
    from picscribe.datasets.image_texts import ImageText
    from picscribe.results import TextScore
    from picscribe.scribe import Scribe


@grouped
def score(
    *,
    photo: Annotated[
        str | None, typer.Argument(show_default=False, help="An image, or - to read one from standard input.")
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", show_default=False, help="Texts to score for the photo.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help='JSON Lines, {"image": "a.jpg", "text": "…"} each; printed in the same order with their scores.',
        ),
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, show_default=False, help="Leave out texts with a lower confidence.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(show_default=False, help="Words that come before each text.")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="With --json or --pairs, print the log-probabilities of tokens too.")
    ] = False,
    model: Model = "nano",
    revision: Revision = None,
    json_lines: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object for each text.")] = False,
    loading: LoadingOptions,
) -> None:
    """Score how well texts fit a photo: print confidence, log-likelihood and text, separated by tabs.

    The confidence is the geometric mean of the tokens' probabilities. The best text of a photo comes first. With
    --pairs prints JSON Lines in the order of the file; paths of images are relative to it. If a pair cannot be used,
    picscribe reports it, and the exit code is 1.

    PICSCRIBE_SERVER=http://host:8000 has a running `picscribe serve` compute it; PICSCRIBE_API_KEY holds its key.
    """

    if (pairs is None) == (not photo or not texts):
        raise ConfigurationError("give a photo and texts, or --pairs and a file")
    if pairs is not None and photo:
        raise ConfigurationError("--pairs names the images: leave the photo out")
    asked = _asked(photo, texts or [], pairs)
    scribe = loading.open(model, revision)
    failures = 0
    scored: list[tuple[ImageText, TextScore]] = []
    with Bar(len(asked)) as bar:
        for pair, result in _scores(scribe, asked, prompt, loading.batch_size):
            failures += isinstance(result, PicscribeError)
            with bar.advance(1):
                if isinstance(result, PicscribeError):
                    report(result)
                elif min_confidence is not None and result.confidence < min_confidence:
                    continue
                elif pairs is not None:
                    _show(pair, result, True, tokens)
                else:
                    scored.append((pair, result))
    for pair, result in sorted(scored, key=lambda one: -one[1].log_likelihood):
        _show(pair, result, json_lines, tokens)
    if failures:
        raise typer.Exit(1)


def _asked(photo: str | None, texts: list[str], file: Path | None) -> "list[ImageText]":
    from picscribe.datasets.image_texts import ImageText, read_image_texts

    if file is not None:
        return read_image_texts(file, "text")
    assert photo is not None
    return [ImageText(photo, text, number) for number, text in enumerate(texts)]


def _scores(
    scribe: "Scribe | RemoteScribe", asked: "list[ImageText]", prompt: str | None, batch_size: int | None
) -> "Iterator[tuple[ImageText, TextScore | PicscribeError]]":
    """Each pair with its score, in order; texts of one image that follow each other share it."""
    from itertools import groupby

    from picscribe.cli.options.photos import source_of

    groups = [list(group) for _, group in groupby(asked, key=lambda pair: pair.image)]
    given = ((source_of(group[0].image), [pair.text for pair in group]) for group in groups)
    found = scribe.scores(given, prompt=prompt, batch_size=batch_size, errors="return")
    for group, results in zip(groups, found, strict=True):
        each = [results] * len(group) if isinstance(results, PicscribeError) else results
        yield from zip(group, each, strict=True)


def _show(pair: "ImageText", result: "TextScore", as_json: bool, tokens: bool) -> None:
    if not as_json:
        write_line(f"{result.confidence:.4f}\t{result.log_likelihood:.3f}\t{pair.text}")
        return
    fields = {
        "path": pair.image,
        "text": pair.text,
        "log_likelihood": result.log_likelihood,
        "confidence": result.confidence,
    }
    if tokens:
        fields |= {"tokens": result.tokens, "log_probabilities": result.log_probabilities}
    write_line(json.dumps(fields))

"""`picscribe caption`: photos, folders or standard input in, captions out."""

import json
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picscribe.cli.options.groups import grouped
from picscribe.cli.options.loading import LoadingOptions, Revision
from picscribe.cli.options.search import UNCERTAIN, MinConfidence, SearchOptions
from picscribe.cli.options.videos import AsVideo, End, Every, Frames, Start, clock, find_videos, subtitles
from picscribe.cli.output.terminal import Bar, report, write_line, write_piece
from picscribe.errors import ConfigurationError, PicscribeError

if TYPE_CHECKING:
    from picscribe.cli.options.photos import Photo
    from picscribe.cli.options.service import RemoteScribe
    from picscribe.generation.options import GenerationOptions
    from picscribe.results import Caption
    from picscribe.scribe import Scribe


@grouped
def caption(
    *,
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO|FOLDER|-",
            show_default=False,
            help="Images, videos, folders of images, or - to read one from standard input.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            show_default=False,
            help="A name that `picscribe models` lists, or a folder; several, to see what each says. [default: nano]",
        ),
    ] = None,
    revision: Revision = None,
    prompt: Annotated[
        str | None, typer.Option(help="Words before the caption, or a question; what comes after them is printed.")
    ] = None,
    search: SearchOptions,
    min_confidence: MinConfidence = 0,
    stream: Annotated[
        bool, typer.Option("--stream", help="Write one photo's caption word by word: greedy, or a sample.")
    ] = False,
    json_lines: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object for each photo.")] = False,
    frames: Frames = None,
    start: Start = None,
    end: End = None,
    every: Every = None,
    as_video: AsVideo = False,
    form: Annotated[
        str | None, typer.Option("--subtitles", show_default=False, help="With --every: print SRT or WebVTT: srt, vtt.")
    ] = None,
    loading: LoadingOptions,
) -> None:
    """Write a caption for each photo, in the order given.

    Prints the caption of one photo; for several, path, tab, caption; with several models, path, tab, model, tab,
    caption. If a photo cannot be read, picscribe reports it on standard error, captions the others, and the exit code
    is 1.

    PICSCRIBE_SERVER=http://host:8000 has a running `picscribe serve` compute it; PICSCRIBE_API_KEY holds its key.
    """
    from picscribe.cli.options.photos import find_photos
    from picscribe.cli.options.service import server_address

    if stream and search.beams is None and search.temperature is None:
        search = replace(search, beams=1)
    options = search.options()
    if form not in (None, "srt", "vtt") or (form and (every is None or json_lines)):
        raise ConfigurationError("--subtitles srt or vtt goes with --every, without --json")
    found = find_videos(find_photos(photos, as_video, sent=bool(server_address())), frames, start, end, every)
    names = model or ["nano"]
    if form and (len({photo.path for photo in found}) != 1 or len(names) != 1):
        raise ConfigurationError("--subtitles is for one video and one model")
    if stream and (len(found) != 1 or len(names) != 1 or json_lines):
        raise ConfigurationError("--stream is for one photo and one model, without --json")
    if len(names) > 1 and any(photo.path == "-" for photo in found):
        raise ConfigurationError("standard input can be read only once: to use several models, name a file")
    here = [name for name, given in (("--every", every), ("--as-video", as_video)) if given]
    scribes = [loading.open(name, revision, here) for name in names]
    if stream:
        _stream(scribes[0], found[0], prompt, options)
        return
    failures, spoken = 0, list[tuple[tuple[float, float], str]]()
    with ExitStack() as stack:
        captions = [
            scribe.captions(
                (photo.source for photo in found),
                prompt=prompt,
                options=options,
                batch_size=loading.batch_size,
                errors="return",
            )
            for scribe in scribes
        ]
        bar = stack.enter_context(Bar(len(found)))
        for photo, results in zip(found, zip(*captions, strict=True), strict=True):
            failures += any(isinstance(result, PicscribeError) for result in results)
            with bar.advance(1):
                if form:
                    spoken += _subtitle(photo, results[0])
                    continue
                for name, result in zip(names, results, strict=True):
                    labels = _labels(photo, name, len(found) > 1, len(names) > 1)
                    _show(photo, name if len(names) > 1 else None, result, json_lines, labels, min_confidence)
    if form:
        write_line(subtitles(spoken, form), end=False)
    if failures:
        raise typer.Exit(1)


def _subtitle(photo: "Photo", result: "Caption | PicscribeError") -> "list[tuple[tuple[float, float], str]]":
    """The time and the text to show; nothing if it failed, which is reported."""
    if isinstance(result, PicscribeError):
        report(result)
        return []
    assert photo.times is not None
    return [(photo.times, result.text)]


def _stream(scribe: "Scribe | RemoteScribe", photo: "Photo", prompt: str | None, options: "GenerationOptions") -> None:
    if isinstance(photo.source, PicscribeError):
        raise photo.source
    for piece in scribe.stream(photo.source, prompt=prompt, options=options):
        write_piece(piece)
    write_line("")


def _labels(photo: "Photo", model: str, several: bool, several_models: bool) -> list[str]:
    """The columns before a caption: the photo, the part of a video, the model, if there are several."""
    times = [f"{clock(photo.times[0])} to {clock(photo.times[1])}"] if photo.times else []
    return [photo.path] * (several or several_models) + times + [model] * several_models


def _show(
    photo: "Photo",
    model: str | None,
    result: "Caption | PicscribeError",
    as_json: bool,
    labels: list[str],
    min_confidence: float,
) -> None:
    """Print what became of one photo; a failure goes to standard error, with --json to standard output as well."""
    if isinstance(result, PicscribeError):
        report(result)
    if as_json:
        named: dict[str, Any] = {"model": model} if model else {}
        if photo.times:
            named |= {"start": photo.times[0], "end": photo.times[1]}
        write_line(json.dumps({"path": photo.path, **named, **_fields(result, min_confidence)}))
    elif not isinstance(result, PicscribeError):
        for caption in result.alternatives or (result,):
            mark = UNCERTAIN if caption.confidence < min_confidence else ""
            write_line("\t".join([*labels, caption.text + mark]))


def _fields(result: "Caption | PicscribeError", min_confidence: float) -> dict[str, Any]:
    """What `--json` says of one photo besides its path."""
    if isinstance(result, PicscribeError):
        return {"error": str(result)}
    best: dict[str, Any] = {"caption": result.text, "score": result.score, "confidence": result.confidence}
    if min_confidence:
        best["uncertain"] = result.confidence < min_confidence
    if len(result.alternatives) > 1:
        best["captions"] = [_fields(caption, min_confidence) for caption in result.alternatives]
    return best

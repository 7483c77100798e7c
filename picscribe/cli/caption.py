"""`picscribe caption`: photos, folders or standard input in, captions out."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picscribe.cli.loading_options import Compile, Dtype, Quantize
from picscribe.cli.terminal import Bar, report, write_line
from picscribe.errors import PicscribeError

if TYPE_CHECKING:
    from picscribe.cli.photos import Photo
    from picscribe.scribe import Caption


def caption(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO|FOLDER|-",
            show_default=False,
            help="Images, folders of images, or - to read one image from standard input.",
        ),
    ],
    model: Annotated[str, typer.Option(help="A name that `picscribe models` lists, or a folder.")] = "nano",
    revision: Annotated[
        str | None, typer.Option(show_default=False, help="Branch, tag or commit of a model on the hub.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Words before the caption, or a question; what comes after them is printed.")
    ] = None,
    beams: Annotated[
        int | None,
        typer.Option(
            min=1, help="Beams of the search; 1 is greedy. [default: 4, or --num-captions where that is more]"
        ),
    ] = None,
    max_words: Annotated[
        int | None, typer.Option(min=1, help="Longest caption, in tokens: a rare word takes several. [default: 20]")
    ] = None,
    min_words: Annotated[int | None, typer.Option(min=0, help="Shortest caption, in tokens. [default: 0]")] = None,
    length_penalty: Annotated[float | None, typer.Option(help="Higher favours longer captions. [default: 0.6]")] = None,
    num_captions: Annotated[
        int | None, typer.Option(min=1, help="Captions a photo, at most --beams. [default: 1]")
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object a photo.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")] = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Photos computed, and printed, at a time.")] = 16,
    dtype: Dtype = "float32",
    quantize: Quantize = None,
    compile: Compile = False,
) -> None:
    """Write a caption for each photo, in the order given.

    One photo: its caption. Several: path, tab, caption. A photo that cannot be read is reported on standard error, the
    others go on, and the exit code is 1.
    """
    from picscribe.cli.photos import find_photos
    from picscribe.generation.options import GenerationOptions
    from picscribe.scribe import load

    if beams is None and num_captions is not None:
        beams = max(num_captions, GenerationOptions.beams)
    chosen: dict[str, Any] = {
        "beams": beams,
        "max_new_tokens": max_words,
        "min_new_tokens": min_words,
        "length_penalty": length_penalty,
        "num_captions": num_captions,
    }
    options = GenerationOptions(**{name: value for name, value in chosen.items() if value is not None})
    found = find_photos(photos)
    scribe = load(model, device=device, revision=revision, dtype=dtype, quantize=quantize, compile=compile)
    sources = (photo.source for photo in found)
    results = scribe.captions(sources, prompt=prompt, options=options, batch_size=batch_size, errors="return")
    failures = 0
    with Bar(len(found)) as bar:
        for photo, result in zip(found, results, strict=True):
            failures += isinstance(result, PicscribeError)
            with bar.advance(1):
                _show(photo, result, json_lines, several=len(found) > 1)
    if failures:
        raise typer.Exit(1)


def _show(photo: "Photo", result: "Caption | PicscribeError", as_json: bool, several: bool) -> None:
    """Print what became of one photo; a failure goes to standard error, with --json to standard output as well."""
    if isinstance(result, PicscribeError):
        report(result)
    if as_json:
        write_line(json.dumps({"path": photo.path, **_fields(result)}))
    elif not isinstance(result, PicscribeError):
        for caption in result.alternatives or (result,):
            write_line(f"{photo.path}\t{caption.text}" if several else caption.text)


def _fields(result: "Caption | PicscribeError") -> dict[str, Any]:
    """What `--json` says of one photo besides its path."""
    if isinstance(result, PicscribeError):
        return {"error": str(result)}
    best = {"caption": result.text, "score": result.score, "confidence": result.confidence}
    if len(result.alternatives) > 1:
        best["captions"] = [_fields(caption) for caption in result.alternatives]
    return best

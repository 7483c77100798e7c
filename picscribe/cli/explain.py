"""`picscribe explain`: a photo in, its caption and a picture of where the model looked for each word out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from picscribe.cli.options.groups import Only, grouped
from picscribe.cli.options.loading import LoadingOptions, Model, Revision
from picscribe.cli.options.search import SearchOptions
from picscribe.cli.options.videos import AsVideo, End, Frames, Start, find_videos
from picscribe.cli.output.terminal import write_line
from picscribe.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from picscribe.generation.explanation import Method
    from picscribe.results import Explanation

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".json")


@grouped
def explain(
    *,
    photo: Annotated[str, typer.Argument(show_default=False, help="An image or a video, or - for standard input.")],
    output: Annotated[
        list[Path],
        typer.Option(
            "--output",
            "-o",
            help="The file to write: a picture (.png, .jpg, .webp), or the numbers (.json); may be repeated.",
        ),
    ],
    method: Annotated[
        str, typer.Option(help="How to find out: gradient is attention times its gradient, rollout is attention alone.")
    ] = "gradient",
    prompt: Annotated[str | None, typer.Option(show_default=False, help="Words that come before the caption.")] = None,
    search: Annotated[SearchOptions, Only("beams", "max_words")],
    frames: Frames = None,
    start: Start = None,
    end: End = None,
    as_video: AsVideo = False,
    model: Model = "nano",
    revision: Revision = None,
    loading: Annotated[LoadingOptions, Only("device", "dtype", "precision", "quantize", "resize")],
) -> None:
    """Show where the model looked for each word of its caption, as heat maps over the photo."""
    from picscribe.cli.options.photos import find_photos

    for file in output:
        if file.suffix.lower() not in SUFFIXES:
            raise ConfigurationError(f"{file}: give a name that ends in {', '.join(SUFFIXES)}")
    options = search.options()
    found = find_videos(find_photos([photo], as_video), frames, start, end, None)
    if len(found) != 1:
        raise ConfigurationError(f"{photo} holds {len(found)} images: name one, or give --as-video")
    source: Any = found[0].source
    if isinstance(source, InputError):
        raise source
    scribe = loading.load(model, revision)
    explanation = scribe.explain(source, prompt=prompt, method=cast("Method", method), options=options)
    write_line(explanation.caption.text)
    for file in output:
        _write(explanation, file)


def _write(explanation: "Explanation", file: Path) -> None:
    import io

    from picscribe.whole_files import whole_file

    if file.suffix.lower() == ".json":
        words = zip(explanation.words, explanation.maps.tolist(), strict=True)
        numbers = {
            "caption": explanation.caption.text,
            "words": [{"word": word, "map": of_word} for word, of_word in words],
        }
        content = json.dumps(numbers).encode()
    else:
        stream = io.BytesIO()
        form = {".png": "PNG", ".webp": "WEBP"}.get(file.suffix.lower(), "JPEG")
        explanation.draw().save(stream, form)
        content = stream.getvalue()
    try:
        with whole_file(file) as out:
            out.write(content)
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror or error})") from error

"""`picscribe ask`: questions about photos in, answers out; a file of questions becomes a results file for EvalAI."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picscribe.cli.options.groups import Only, grouped
from picscribe.cli.options.loading import LoadingOptions, Model, Revision
from picscribe.cli.options.search import UNCERTAIN, MinConfidence, SearchOptions
from picscribe.cli.options.videos import End, Frames, Start, find_videos
from picscribe.cli.output.terminal import Bar, report, write_line
from picscribe.errors import ConfigurationError, PicscribeError

if TYPE_CHECKING:
    from picscribe.cli.options.service import RemoteScribe
    from picscribe.datasets.image_texts import ImageText
    from picscribe.generation.options import GenerationOptions
    from picscribe.results import Caption
    from picscribe.scribe import Scribe


@grouped
def ask(
    *,
    photo: Annotated[
        str | None, typer.Argument(show_default=False, help="An image, or - to read one from standard input.")
    ] = None,
    questions: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION", show_default=False, help="One or more questions about it.")
    ] = None,
    questions_file: Annotated[
        Path | None,
        typer.Option(
            "--questions",
            show_default=False,
            help='JSON Lines, one question each: {"image": "a.jpg", "question": "…", "id": 1}; paths of images are '
            "relative to it.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(show_default=False, help="With --questions: the results file, instead of standard output."),
    ] = None,
    model: Model = "nano",
    revision: Revision = None,
    search: Annotated[SearchOptions, Only("beams", "max_words")],
    min_confidence: MinConfidence = 0,
    json_lines: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object for each question.")] = False,
    frames: Frames = None,
    start: Start = None,
    end: End = None,
    loading: LoadingOptions,
) -> None:
    """Answer questions about a photo, or a file of questions about many.

    Prints the answer to one question; for several, the question, a tab and the answer. With --questions prints VQA's
    results, [{"question_id": 1, "answer": "two"}], in the order of the file. If an image cannot be used, picscribe
    reports it and leaves the answer empty, and the exit code is 1.

    PICSCRIBE_SERVER=http://host:8000 has a running `picscribe serve` compute it; PICSCRIBE_API_KEY holds its key.
    """
    from picscribe.checkpoints.registry import answers_questions

    if (questions_file is None) == (not photo or not questions):
        raise ConfigurationError("give a photo and questions about it, or --questions and a file")
    if questions_file is not None and photo:
        raise ConfigurationError("--questions names the images: leave the photo out")
    if output is not None and (questions_file is None or json_lines):
        raise ConfigurationError("--output is for the results of --questions, without --json")
    options = search.options()
    asked = _asked(photo, questions or [], questions_file)
    scribe = loading.open(model, revision)
    if answers_questions(model) is False:
        report(f"{model} was not trained to answer questions: `picscribe models` lists those that were")
    answers: list[dict[str, Any]] = []
    failures = 0
    with Bar(len(asked)) as bar:
        part = partial(_source, from_file=questions_file is not None, frames=frames, start=start, end=end)
        for question, result in _answers(scribe, asked, options, loading.batch_size, part):
            failures += isinstance(result, PicscribeError)
            with bar.advance(1):
                if isinstance(result, PicscribeError):
                    report(result)
                if questions_file is not None and not json_lines:
                    # As the original code's results file has it, which the official evaluation reads.
                    said = "" if isinstance(result, PicscribeError) else result.decoded
                    answers.append({"question_id": question.id, "answer": said})
                else:
                    _show(question, result, json_lines, len(asked) > 1, min_confidence, questions_file is not None)
    if questions_file is not None and not json_lines:
        _write(answers, output)
    if failures:
        raise typer.Exit(1)


def _asked(photo: str | None, questions: list[str], file: Path | None) -> "list[ImageText]":
    from picscribe.datasets.image_texts import ImageText, read_image_texts

    if file is not None:
        return read_image_texts(file, "question")
    assert photo is not None
    return [ImageText(photo, question, number) for number, question in enumerate(questions)]


def _answers(
    scribe: "Scribe | RemoteScribe",
    asked: "list[ImageText]",
    options: "GenerationOptions",
    batch_size: int | None,
    source: "Callable[[str], Any]",
) -> "Iterator[tuple[ImageText, Caption | PicscribeError]]":
    """Each question with its answer, in order; questions about one image that follow each other share it."""
    from itertools import groupby

    groups = [list(group) for _, group in groupby(asked, key=lambda question: question.image)]
    pairs = ((source(group[0].image), [question.text for question in group]) for group in groups)
    found = scribe.answers(pairs, options=options, batch_size=batch_size, errors="return")
    for group, answers in zip(groups, found, strict=True):
        each = [answers] * len(group) if isinstance(answers, PicscribeError) else answers
        yield from zip(group, each, strict=True)


def _source(image: str, from_file: bool, frames: int | None, start: str | None, end: str | None) -> Any:
    """What to look at for a name on the command line, where `-` is standard input, or in a file."""
    from picscribe.cli.options.photos import Photo, source_of

    photo = Photo(image, image if from_file else source_of(image))
    return find_videos([photo], frames, start, end, None, alone=not from_file)[0].source


def _show(
    question: "ImageText",
    result: "Caption | PicscribeError",
    as_json: bool,
    several: bool,
    min_confidence: float,
    from_file: bool,
) -> None:
    if as_json:
        fields: dict[str, Any] = {"path": question.image, "question": question.text}
        if from_file:
            fields["id"] = question.id
        if isinstance(result, PicscribeError):
            fields["error"] = str(result)
        else:
            fields |= {"answer": result.text, "score": result.score, "confidence": result.confidence}
            if min_confidence:
                fields["uncertain"] = result.confidence < min_confidence
        write_line(json.dumps(fields))
    elif not isinstance(result, PicscribeError):
        text = result.text + (UNCERTAIN if result.confidence < min_confidence else "")
        write_line(f"{question.text}\t{text}" if several else text)


def _write(answers: list[dict[str, Any]], output: Path | None) -> None:
    from picscribe.whole_files import write_whole

    text = json.dumps(answers, ensure_ascii=False)
    if output is None:
        write_line(text)
    else:
        write_whole(output, text)

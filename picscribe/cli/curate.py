"""`picscribe curate`: pairs of photo and text in, those that are fit to learn from out, and why the others are not."""

from pathlib import Path
from typing import Annotated

import typer

from picscribe.cli.options.data import DataFormat, Images
from picscribe.cli.output.terminal import Bar, report, write_line
from picscribe.errors import InputError


def curate(
    data: Annotated[Path, typer.Argument(help="A file or folder of any form that `picscribe data inspect` knows.")],
    output: Annotated[
        Path, typer.Argument(help="The folder for the result. If a run was stopped, it continues there.")
    ],
    images: Images = None,
    data_format: DataFormat = None,
    split: Annotated[str | None, typer.Option(show_default=False, help="Only this split. [default: all]")] = None,
    language: Annotated[
        list[str] | None, typer.Option(show_default=False, help="A language to keep; may be repeated. [default: en]")
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(show_default=False, help="Your own list of offensive words: UTF-8 text, one word a line."),
    ] = None,
    least_language: Annotated[
        float, typer.Option(help="The least probability that a text is in one of the languages.")
    ] = 0.02,
    fewest_words: Annotated[int, typer.Option(help="The fewest words that a text may have.")] = 3,
    most_words: Annotated[int, typer.Option(help="The most words that a text may have.")] = 60,
    smallest_side: Annotated[int, typer.Option(help="The smallest side that a photo may have, in pixels.")] = 64,
    hash_distance: Annotated[
        int,
        typer.Option(help="Photos count as copies if their perceptual hashes differ in at most this many of 64 bits."),
    ] = 4,
    text_repeats: Annotated[int, typer.Option(help="How many photos may have the same text.")] = 3,
    model: Annotated[
        str | None, typer.Option(show_default=False, help="A model to score texts with, by name or folder.")
    ] = None,
    least_score: Annotated[
        float | None,
        typer.Option(
            show_default=False, help="With --model, the least mean log-probability of a text's tokens, such as -4."
        ),
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(show_default=False, help="A rule to skip; may be repeated.")] = None,
    num_processes: Annotated[int, typer.Option(min=1, max=256, help="How many processes open photos.")] = 1,
) -> None:
    """Leave out pairs of photo and text that a model should not learn from.

    Rules: broken, small, blank, image-duplicate, tag, boilerplate, length, offensive, language, text-duplicate, score.
    The output folder is a data set of the remaining pairs. dropped.html, dropped.jsonl and report.json show the rest.
    """
    from picscribe.curation import Rules
    from picscribe.curation import curate as run
    from picscribe.datasets import read_dataset

    rules = Rules(
        languages=tuple(language or ("en",)),
        words=_read_words(words) if words else (),
        least_language=least_language,
        fewest_words=fewest_words,
        most_words=most_words,
        smallest_side=smallest_side,
        hash_distance=hash_distance,
        text_repeats=text_repeats,
        model=model or "",
        least_score=least_score,
        skip=tuple(skip or ()),
    )
    dataset = read_dataset(data, images, format=data_format)
    examples = dataset.select(split) if split else dataset.examples
    for oddity in () if split else dataset.oddities:
        report(oddity)
    with Bar(len(examples)) as bar:
        result = run(dataset, examples, rules, output, num_processes, bar.reach)
    for rule, count in result.dropped.items():
        write_line(f"{rule:16}{count:9,}")
    write_line(f"{result.kept:,} of {result.pairs:,} pairs stay, of {result.images_kept:,} of {result.images:,} photos")
    write_line(f"what went, and why: {output / 'dropped.html'}")
    images_there = "" if Path(result.photos) == output else f", images: {result.photos}"
    write_line(f"to learn from it: data.train='[{{path: {output}{images_there}}}]'")


def _read_words(file: Path) -> tuple[str, ...]:
    from picscribe.text.labels import read_labels

    words = tuple(word.strip() for word in read_labels(file) if word.strip())
    if not words:
        raise InputError(f"{file}: holds no words: to look for none, use --skip offensive")
    return words

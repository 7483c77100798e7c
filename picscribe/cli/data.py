"""`picscribe data`: what a data set is and what is wrong with it, before a model is trained or measured on it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picscribe.cli.output.examples import epilog
from picscribe.cli.output.terminal import write_line

if TYPE_CHECKING:
    from picscribe.datasets.inspection import Inspection, Spread
    from picscribe.evaluation.contact_sheet import OpenedSample

data = typer.Typer(
    name="data",
    help="Look at data sets.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

SAMPLE = 200
"""Photos that are opened, evenly over all."""


@data.callback()
def _group() -> None:
    """Look at data sets."""


@data.command(epilog=epilog("data inspect"))
def inspect(
    path: Annotated[Path, typer.Argument(show_default=False, help="An annotation file, a tar, a table, or a folder.")],
    images: Annotated[
        Path | None, typer.Option(show_default=False, help="The folder of the images. [default: the usual places]")
    ] = None,
    format: Annotated[
        str | None, typer.Option(show_default=False, help="The format of the data set, if it is not recognised.")
    ] = None,
    split: Annotated[str | None, typer.Option(show_default=False, help="The split to look at: train, val …")] = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(show_default=False, help="Draw a sample of the photos to this PNG file.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="How many odd rows to show.")] = 20,
    json_object: Annotated[bool, typer.Option("--json", help="Print one JSON object, with all odd rows.")] = False,
) -> None:
    """Show what is in a data set, and odd rows. The exit code is 1 if a row is odd or a photo does not open."""
    from picscribe.datasets import missing_files, read_dataset
    from picscribe.datasets.inspection import inspect_dataset
    from picscribe.errors import ConfigurationError, InputError
    from picscribe.evaluation.contact_sheet import choose_sample, draw_contact_sheet, open_sample

    if contact_sheet and (contact_sheet.suffix.lower() != ".png" or not contact_sheet.absolute().parent.is_dir()):
        raise ConfigurationError(f"--contact-sheet {contact_sheet}: name a .png file in a folder that is there")
    dataset = read_dataset(path, images, format=format)
    known = {*dataset.splits, *(oddity.split for oddity in dataset.oddities)}
    if split is not None and split not in known:
        listed = ", ".join(map(repr, sorted(known - {""}))) or "no splits"
        raise InputError(f"{path}: has no split {split!r}; it has {listed}")
    found = inspect_dataset(dataset, split)
    examples = [example for example in dataset.examples if split is None or example.split == split]
    missing = {(oddity.where, oddity.split) for oddity in missing_files(examples)}
    there = [example for example in examples if (example.where, example.split) not in missing]
    opened = open_sample(choose_sample(there, SAMPLE) if dataset.medium == "images" else [])
    if json_object:
        write_line(json.dumps({"path": str(dataset.path), **asdict(found), "opened": asdict(opened)}))
    else:
        _write(dataset.path, found, opened, rows)
        if examples and not there:
            write_line(f"none of its {found.medium} is there: name their folder with --images")
    if contact_sheet:
        try:
            draw_contact_sheet(dataset, examples).save(contact_sheet, "PNG")
        except OSError as error:
            raise InputError(f"{contact_sheet}: cannot be written ({error.strerror or error})") from error
    if found.odd or opened.unopenable:
        raise typer.Exit(1)


@data.command(epilog=epilog("data frequencies"))
def frequencies(
    path: Annotated[Path, typer.Argument(show_default=False, help="A data set with captions.")],
    output: Annotated[Path, typer.Argument(show_default=False, help="The JSON file to write.")],
    format: Annotated[
        str | None, typer.Option(show_default=False, help="The format of the data set, if it is not recognised.")
    ] = None,
    split: Annotated[str | None, typer.Option(show_default=False, help="The split: train, train+restval …")] = None,
) -> None:
    """Count in how many images each phrase occurs, to compute CIDEr with a corpus's document frequencies."""
    from picscribe.datasets import read_dataset
    from picscribe.metrics.document_frequencies import DocumentFrequencies

    examples = read_dataset(path, format=format).select(split)
    counted = DocumentFrequencies.of_references({example.id: example.texts for example in examples})
    counted.save(output)
    write_line(f"{output}: {counted.documents:,} images, {len(counted.by_ngram()):,} runs of one to four words")


def _write(path: Path, found: "Inspection", opened: "OpenedSample", rows: int) -> None:
    examples = {"captions": found.medium, "questions": "questions", "labels": found.medium}[found.task]
    from picscribe.datasets.values import shown

    texts = {"captions": "captions", "questions": "answers", "labels": "labels"}[found.task]
    write_line(f"{path}: {found.format}, {texts} of {found.medium}")
    for name, counts in found.splits.items():
        about = f" about {counts.sources:,} {found.medium}" if found.task == "questions" else ""
        odd = f", {counts.odd:,} odd" if counts.odd else ""
        write_line(f"  {name or 'no split':12} {counts.examples:,} {examples}{about}, {counts.texts:,} {texts}{odd}")
    if found.distinct_texts:
        write_line(f"{texts} of one: {_spread(found.texts_per_example)}; words of one: {_spread(found.words)}")
        frequent = ", ".join(f"{shown(text)} {count:,}" for text, count in found.frequent if count > 1)
        write_line(f"distinct {texts}: {found.distinct_texts:,}; most frequent: {frequent or 'each is there once'}")
    else:
        write_line(f"no {texts}: there is nothing to learn from or to compare with")
    if opened.sizes or opened.unopenable:
        _write_opened(opened, sum(counts.sources for counts in found.splits.values()))
    problems = [*found.odd, *opened.unopenable]
    write_line(f"odd rows: {len(problems):,}")
    for oddity in problems[:rows]:
        write_line(f"  {' '.join(str(oddity).splitlines())}")
    if len(problems) > rows:
        write_line(f"  and {len(problems) - rows:,} more: --rows {len(problems)} shows all")
    for note in found.notes:
        write_line(note)


def _write_opened(opened: "OpenedSample", sources: int) -> None:
    """What the opened photos are, and how many photos they represent; problems are those of the sample."""
    kinds = {**opened.formats, **({"cannot be opened": len(opened.unopenable)} if opened.unopenable else {})}
    line = f"opened {sum(kinds.values()):,} of {sources:,}: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    if opened.sizes:
        smallest, largest = (choose(opened.sizes, key=_area) for choose in (min, max))
        line += f"; from {_size(smallest)} to {_size(largest)} pixels"
    write_line(line)


def _spread(spread: "Spread") -> str:
    return f"{spread.least:g} to {spread.greatest:g}, median {spread.median:g}"


def _area(size: Any) -> int:
    return int(size[0] * size[1])


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"

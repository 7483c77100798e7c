"""`picscribe compare`: where two evaluations, or two results files, differ."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from picscribe.cli.options.data import DataFormat, Images
from picscribe.cli.output.terminal import write_line, write_table
from picscribe.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from picscribe.datasets import Dataset
    from picscribe.evaluation.comparison import Change, Comparison


def compare(
    first: Annotated[
        Path,
        typer.Argument(metavar="A", help="A folder or report.json of `picscribe evaluate`, or a results file (JSON)."),
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="The same for another run on the same examples.")],
    references: Annotated[
        Path | None,
        typer.Option(show_default=False, help="The data set; needed where both A and B are results files."),
    ] = None,
    images: Images = None,
    data_format: DataFormat = None,
    split: Annotated[str | None, typer.Option(show_default=False, help="The split of the data set.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            help="The score that examples are ranked by, if not the first; for answers also how they are scored: "
            "vqa-accuracy, textvqa-accuracy, exact-match, classes, scene-text.",
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, help="How many examples to show in which B is better, and in which A is.")
    ] = 5,
    samples: Annotated[
        int, typer.Option(min=1, help="How many resamples intervals and p-values are computed from.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the resamples.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            show_default=False, help="Also write the comparison to this file: a page (.html), or data (.json)."
        ),
    ] = None,
) -> None:
    """Compare two runs over the same examples: scores, whether differences are chance, and single examples.

    The difference is B − A. p is the probability of a difference this large if A and B are equally good (paired
    bootstrap over the examples).
    """
    from picscribe.datasets import read_dataset
    from picscribe.evaluation.comparison import compare as compare_runs
    from picscribe.evaluation.comparison import read_side
    from picscribe.metrics.bootstrap import Resampling

    if output and output.suffix not in (".html", ".json"):
        raise ConfigurationError(f"--output {output}: name a file that ends in .html or .json")
    if output and not output.absolute().parent.is_dir():
        raise ConfigurationError(f"--output {output}: there is no folder {output.parent}")
    if references is None and (images or data_format or split):
        raise ConfigurationError("--images, --format and --split are those of --references: name the data set")
    dataset = read_dataset(references, images, format=data_format) if references else None
    found = compare_runs(
        read_side(first),
        read_side(second),
        dataset,
        split,
        metric=metric,
        most=examples,
        resampling=Resampling(samples=samples, seed=seed),
    )
    _show(found)
    if output:
        _write(found, output, dataset)


def _show(found: "Comparison") -> None:
    from picscribe.evaluation.comparison_page import count_line, score_heads, score_row

    write_table([score_heads(found), *(score_row(score) for score in found.scores)])
    write_line(count_line(found))
    for what, one, other in found.settings:
        write_line(f"{what}: A {one}, B {other}")
    _show_changes(f"B furthest above A by {found.metric}", found.better, found.metric)
    _show_changes(f"B furthest below A by {found.metric}", found.worse, found.metric)


def _show_changes(title: str, changes: "Sequence[Change]", metric: str) -> None:
    if changes:
        write_line(f"\n{title}")
    for change in changes:
        # Texts of others' files: what would steer the terminal is spelled out.
        write_line(f"{change.id!r}" + (f" {change.question!r}" if change.question else ""))
        write_line(f"  A {change.first_scores[metric]:.4f} {change.first!r}")
        write_line(f"  B {change.second_scores[metric]:.4f} {change.second!r}")
        write_line(f"  reference {change.references[0]!r}")


def _write(found: "Comparison", output: Path, dataset: "Dataset | None") -> None:
    from picscribe.evaluation.comparison_page import comparison_page
    from picscribe.media.images import open_image
    from picscribe.whole_files import write_whole

    if output.suffix == ".json":
        write_whole(output, json.dumps(asdict(found), indent=2) + "\n")
        return
    sources = {example.id: example for example in dataset.examples} if dataset else {}

    def picture(change: "Change") -> "Image | None":
        try:
            return open_image(sources[change.id].image() if sources else change.image)
        except InputError:  # the photos need not be where they were
            return None

    write_whole(output, comparison_page(found, picture))

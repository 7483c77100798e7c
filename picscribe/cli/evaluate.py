"""`picscribe evaluate`: let a model caption or answer a data set, and report its scores."""

import contextlib
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from picscribe.cli.options.data import DataFormat, Images
from picscribe.cli.options.loading import Compile, Device, Dtype, Precision, Quantize, Revision
from picscribe.cli.output.terminal import Bar, report, show_scores, write_line, write_table


def evaluate(
    model: Annotated[str, typer.Argument(help="A name that `picscribe models` lists, or a folder.")],
    data: Annotated[
        Path,
        typer.Argument(help="An annotation file or a folder; `picscribe data inspect` says how it is read."),
    ],
    images: Images = None,
    data_format: DataFormat = None,
    split: Annotated[
        str | None,
        typer.Option(show_default=False, help="The split: train, val, test … Needed if there are several."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            help="How to score answers and labels, if not the usual way: vqa-accuracy, textvqa-accuracy, exact-match, "
            "classes, scene-text.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(show_default=False, help="Answer only with names from this file, one name a line."),
    ] = None,
    beams: Annotated[int, typer.Option(min=1, help="How many beams to search with; 1 is greedy.")] = 4,
    length_penalty: Annotated[float, typer.Option(help="Higher values favour longer captions.")] = 0.6,
    max_words: Annotated[int, typer.Option(min=1, help="The longest caption, in tokens.")] = 20,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos, or questions about a photo, in a batch.")] = 32,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    precision: Precision = "exact",
    quantize: Quantize = None,
    compile: Compile = False,
    num_processes: Annotated[
        int, typer.Option(min=1, help="Divide the work among this many processes; with cuda, each has a GPU.")
    ] = 1,
    revision: Revision = None,
    samples: Annotated[
        int, typer.Option(min=1, help="How many resamples the confidence intervals are computed from.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the resamples.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="The folder for predictions.json, items.json, report.json and report.html. If an evaluation "
            "was stopped, it continues there.",
        ),
    ] = None,
) -> None:
    """Caption every photo of a split, or answer its questions, and score the result.

    Scores of captions: CIDEr (1.0 is 100 points), BLEU, ROUGE-L, the share that names a thing on which the references
    agree, and figures that reveal a model that ignores its photos. Scores of answers: VQA accuracy or exact match.
    Scores of classes: equal and in. Each has a 95 % confidence interval. The report also says how often confident
    answers are right.
    """
    from picscribe.datasets import load_examples
    from picscribe.evaluation.page import calibration_rows
    from picscribe.evaluation.plan import Evaluation
    from picscribe.evaluation.run import run
    from picscribe.generation.options import GenerationOptions
    from picscribe.metrics.bootstrap import Resampling
    from picscribe.text.labels import read_labels

    options = GenerationOptions(beams=beams, length_penalty=length_penalty, max_new_tokens=max_words)
    dataset, examples = load_examples(data, images, split, format=data_format)
    evaluation = Evaluation(
        model=model,
        dataset=dataset,
        examples=examples,
        split=split,
        images=images,
        options=options,
        batch_size=batch_size,
        metric=metric,
        labels=tuple(name for name in read_labels(labels) if name.strip()) if labels else (),
        resampling=Resampling(samples=samples, seed=seed),
        revision=revision,
        device=device,
        processes=num_processes,
        dtype=dtype,
        quantize=quantize,
        compile=compile,
        precision=precision,
    )
    with contextlib.ExitStack() as stack:
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="picscribe-")))
        try:
            with Bar(len(evaluation.batches())) as bar:
                result, _ = run(evaluation, folder, bar.reach)
        except (KeyboardInterrupt, SystemExit):
            if output:
                report(f"stopped; the same command continues in {output}")
            raise
    for name, error in result.errors.items():
        report(f"{name}: {error}")
    if precision != "exact":
        report(f"{model} computed in {result.model['precision']}")
    show_scores(result.scores, result.intervals)
    if result.calibration:
        write_table(calibration_rows(result.calibration))
    of_split = f" of {split}" if split else ""
    done = f"{_count(len(examples), 'example')}{of_split}, {_count(beams, 'beam')}, {result.seconds:.0f} s"
    write_line(done)
    if output:
        write_line(f"report: {output / 'report.html'}")
    if result.errors:
        raise typer.Exit(1)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"

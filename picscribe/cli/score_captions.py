"""`picscribe score-captions`: score captions that are in a results file, without a model."""

from pathlib import Path
from typing import Annotated

import typer

from picscribe.cli.output.terminal import report, show_scores


def score_captions(
    results: Annotated[
        Path, typer.Argument(help='Captions in COCO\'s results form: [{"image_id": 1, "caption": "a dog"}].')
    ],
    references: Annotated[
        Path, typer.Argument(help="A data set with reference captions: an annotation file or a folder.")
    ],
    split: Annotated[
        str | None, typer.Option(show_default=False, help="The split. Needed if there are several.")
    ] = None,
    data_format: Annotated[
        str | None,
        typer.Option("--format", show_default=False, help="The format of the data set, if it is not recognised."),
    ] = None,
    document_frequencies: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="CIDEr with a corpus's document frequencies, from `picscribe data frequencies`; otherwise "
            "those of the references.",
        ),
    ] = None,
    meteor: Annotated[bool, typer.Option("--meteor", help="METEOR as well; needs Java and the extra `java`.")] = False,
    spice: Annotated[bool, typer.Option("--spice", help="SPICE as well; needs Java and the extra `java`.")] = False,
    samples: Annotated[
        int, typer.Option(min=1, help="How many resamples the confidence intervals are computed from.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the resamples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: scores and intervals.")] = False,
) -> None:
    """Score captions: CIDEr (1.0 is 100 points), BLEU, ROUGE-L, named things, and figures that reveal a broken model.

    Named things is the share of photos whose caption names a thing that three fifths of the references name.

    The photos are not needed. Every image of the split needs a caption, and every caption needs references.
    """
    from picscribe.datasets import read_dataset
    from picscribe.evaluation.results import read_predictions
    from picscribe.evaluation.warning_signs import ALONE
    from picscribe.metrics import java_metrics
    from picscribe.metrics.bootstrap import Resampling, intervals
    from picscribe.metrics.document_frequencies import DocumentFrequencies
    from picscribe.metrics.scores import score_captions

    resampling = Resampling(samples=samples, seed=seed)
    predictions = read_predictions(results, "captions")
    examples = read_dataset(references, format=data_format).select(split)
    texts = {example.id: example.texts for example in examples}
    frequencies = DocumentFrequencies.load(document_frequencies) if document_frequencies else None
    scores = score_captions(predictions, texts, frequencies)
    if meteor:
        scores["METEOR"] = java_metrics.meteor(predictions, texts)
    if spice:
        scores["SPICE"] = java_metrics.spice(predictions, texts)
    if len(texts) == 1 and frequencies is None:
        report(f"warning: {ALONE}")
    values = {name: metric.value for name, metric in scores.items()}
    show_scores(values, intervals(scores, resampling), as_json)

"""`picscribe score-answers`: score answers or class names that are in a results file, without a model."""

from pathlib import Path
from typing import Annotated

import typer

from picscribe.cli.output.terminal import show_scores


def score_answers(
    results: Annotated[
        Path,
        typer.Argument(
            help='[{"question_id": 1, "answer": "yes"}] as EvalAI takes it, or [{"id": 1, "label": "cat"}], '
            'with "ranked": ["cat", "lynx"] for top-5.'
        ),
    ],
    references: Annotated[
        Path, typer.Argument(help="A data set with answers or class names: an annotation file or a folder.")
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            help="vqa-accuracy, textvqa-accuracy, exact-match, classes, scene-text; if not the usual one for "
            "the data set.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(show_default=False, help="The split. Needed if there are several.")
    ] = None,
    data_format: Annotated[
        str | None,
        typer.Option("--format", show_default=False, help="The format of the data set, if it is not recognised."),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="How many resamples the confidence intervals are computed from.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the resamples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: scores and intervals.")] = False,
) -> None:
    """Score answers to questions by VQA accuracy or exact match, class names by equal and in, or words of scene text.

    The photos are not needed. Every question of the split needs an answer.
    """
    from picscribe.datasets import read_dataset
    from picscribe.evaluation.results import read_predictions, read_rankings
    from picscribe.metrics.bootstrap import Resampling, intervals
    from picscribe.metrics.classification import top_k
    from picscribe.metrics.scores import choose_metric, score

    resampling = Resampling(samples=samples, seed=seed)
    dataset = read_dataset(references, format=data_format)
    predictions = read_predictions(results, dataset.task)
    texts = {example.id: example.texts for example in dataset.select(split)}
    scores = score(predictions, texts, choose_metric(metric, dataset.task, dataset.format, texts))
    if dataset.task == "labels" and (rankings := read_rankings(results)):
        scores["top-5"] = top_k(rankings, texts, 5)
    values = {name: metric.value for name, metric in scores.items()}
    show_scores(values, intervals(scores, resampling), as_json)

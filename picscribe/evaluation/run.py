"""An evaluation from beginning to end: answer every example once, score the answers, write the report."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from PIL import Image

from picscribe.checkpoints.tensor_names import count_parameters
from picscribe.datasets import Example
from picscribe.errors import InputError, PicscribeError
from picscribe.evaluation.answering import answer_batch
from picscribe.evaluation.journal import Answer, AnsweredBatch, AnswerJournal
from picscribe.evaluation.page import report_page
from picscribe.evaluation.plan import Evaluation
from picscribe.evaluation.processes import rank, run_in_processes
from picscribe.evaluation.results import Item, Report, write_run
from picscribe.media.images import open_image
from picscribe.metrics.bootstrap import intervals
from picscribe.metrics.calibration import calibrate
from picscribe.metrics.metric import Metric, scores_of
from picscribe.metrics.scores import score
from picscribe.scribe import Scribe
from picscribe.text.labels import Labels
from picscribe.versions import versions
from picscribe.whole_files import write_whole

PAGE = "report.html"

GRADED = frozenset({"CIDEr", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"})
"""Scores of likeness: they do not say whether an answer is right."""

Progress = Callable[[int], None]
"""Told how many batches are done."""


def run(evaluation: Evaluation, folder: Path, progress: Progress = lambda done: None) -> tuple[Report, list[Item]]:
    """Run an evaluation in `folder`, or continue with the one that was stopped there; nothing is computed twice.

    Leaves predictions.json, items.json, report.json and report.html. A photo that cannot be used counts as an empty
    answer and is named in the report. Raises ConfigurationError where `folder` holds another evaluation, InputError
    where its journal is damaged.
    """
    journal = AnswerJournal(folder)
    scribe = evaluation.load()
    parameters, precision = count_parameters(scribe.config), scribe.precision
    journal.begin(evaluation.identity(scribe))
    # From here on as it was found: processes of their own do not measure again, and cannot come to differ.
    evaluation = replace(evaluation, precision="exact", **scribe.loading)
    plan = [[example.id for example in batch] for batch in evaluation.batches()]
    done = journal.batches(plan)
    left = [number for number in range(len(plan)) if number not in done]
    if evaluation.processes == 1:
        _answer(evaluation, folder, left, scribe, progress)
    elif left:
        del scribe  # each process loads its own
        with _watched(journal, progress):
            run_in_processes(evaluation.processes, _answer_share, evaluation, folder, left)
    done = journal.batches(plan)
    if len(done) < len(plan):
        raise InputError(
            f"{folder}: {len(plan) - len(done)} batches are missing in its journal: repeat the command to continue"
        )
    return _finish(evaluation, journal, done, parameters, precision)


def _answer_share(evaluation: Evaluation, folder: Path, left: Sequence[int]) -> None:
    """What one of several processes does: its share of the batches that are left."""
    share = left[rank() :: evaluation.processes]
    if share:
        _answer(evaluation, folder, share, evaluation.load(), lambda done: None)


def _answer(evaluation: Evaluation, folder: Path, left: Sequence[int], scribe: Scribe, progress: Progress) -> None:
    batches = evaluation.batches()
    done = len(batches) - len(left)
    progress(done)
    labels = Labels.of(scribe.tokenizer, evaluation.labels) if evaluation.labels else None
    with AnswerJournal(folder).writer(rank()) as writer:
        for place, number in enumerate(left, start=1):
            started = time.monotonic()
            answers = answer_batch(scribe, batches[number], evaluation.options, labels)
            writer.write(number, answers, time.monotonic() - started)
            progress(done + place)


@contextlib.contextmanager
def _watched(journal: AnswerJournal, progress: Progress) -> Iterator[None]:
    """Tell `progress` every second what all processes together have done."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1):
            progress(journal.count())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _finish(
    evaluation: Evaluation, journal: AnswerJournal, done: Mapping[int, AnsweredBatch], parameters: int, precision: str
) -> tuple[Report, list[Item]]:
    """Score all answers and write the files."""
    answers = {answer.id: answer for batch in done.values() for answer in batch.answers}
    predictions = {example.id: answers[example.id].text for example in evaluation.examples}
    metric = evaluation.chosen_metric
    scores = score(predictions, evaluation.references, metric)
    identity = journal.identity()
    dataset = evaluation.dataset
    report = Report(
        scores={name: of_name.value for name, of_name in scores.items()},
        intervals=intervals(scores, evaluation.resampling),
        metric=metric,
        model={
            "name": evaluation.model,
            "revision": evaluation.revision,
            "sha256": identity["model"],
            "parameters": parameters,
            "device": evaluation.device,
            "dtype": evaluation.dtype,
            "quantize": evaluation.quantize,
            "compile": evaluation.compile,
            "precision": precision,
        },
        data={
            "path": str(dataset.path),
            "format": dataset.format,
            "task": dataset.task,
            "split": evaluation.split,
            "images": str(evaluation.images) if evaluation.images else None,
            "examples": len(evaluation.examples),
            "sha256": identity["data"],
        },
        generation={
            **asdict(evaluation.options),
            "labels": len(evaluation.labels) or None,
            "batch_size": evaluation.batch_size,
        },
        resampling=asdict(evaluation.resampling),
        versions=versions(),
        seconds=sum(batch.seconds for batch in done.values()),
        errors={identity: answer.error for identity, answer in answers.items() if answer.error},
        calibration=_calibration(answers.values(), scores),
    )
    items = [_item(example, answers[example.id], scores) for example in evaluation.examples]
    sources = {example.id: example for example in evaluation.examples}
    write_run(journal.folder, report, items)
    write_whole(journal.folder / PAGE, report_page(report, items, lambda item: _picture(sources[item.id])))
    return report, items


def _calibration(answers: Iterable[Answer], scores: Mapping[str, Metric]) -> dict[str, Any]:
    """How right the sure answers are, by the first score that says right or wrong; {} where none has a confidence."""
    confidences = {answer.id: answer.confidence for answer in answers if answer.confidence is not None}
    metric = next((name for name in scores if name not in GRADED and scores[name].per_item), None)
    if not confidences or metric is None:
        return {}
    return {"metric": metric, "levels": [asdict(level) for level in calibrate(confidences, scores[metric].per_item)]}


def _item(example: Example, answer: Answer, scores: dict[str, Metric]) -> Item:
    return Item(
        example.id,
        str(example.source),
        example.question,
        answer.text,
        example.texts,
        scores_of(example.id, scores),
        answer.error,
        answer.confidence,
    )


def _picture(example: Example) -> Image.Image | None:
    """The photo, for the page; None where it cannot be opened."""
    try:
        return open_image(example.image())
    except PicscribeError:
        return None

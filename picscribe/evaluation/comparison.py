"""Where two runs over the same examples differ: scores, whether by more than chance, and the examples themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from picscribe.datasets.dataset import Dataset
from picscribe.errors import ConfigurationError, InputError
from picscribe.evaluation.provenance import differences
from picscribe.evaluation.results import REPORT, RESULT_FORMS, Item, Report, read_results, read_run
from picscribe.metrics.bootstrap import Resampling, compare_paired
from picscribe.metrics.metric import Metric, scores_of
from picscribe.metrics.scores import AnswerMetric, MetricName, choose_metric, score

MOST_NAMED = 5
USUAL_RESAMPLING = Resampling()


@dataclass(frozen=True)
class Run:
    """One side of a comparison: what was said of each example by id, and what is known of how.

    task: "captions", "questions" or "labels". report: None, and no `items`, for a results file.
    """

    path: Path
    predictions: dict[str, str]
    task: str
    report: Report | None = None
    items: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A metric's value of A and of B, and B − A with its interval and p-value, both None where it has no statistic."""

    metric: str
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None
    p_value: float | None


@dataclass(frozen=True)
class Change:
    """An example that A and B score unlike: what each said, and its scores by metric."""

    id: str
    image: str
    question: str
    references: tuple[str, ...]
    first: str
    second: str
    first_scores: dict[str, float]
    second_scores: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """All that differs between A and B over the same examples.

    metric: the one that decides which example is better. first_better, second_better: how many examples score higher in
    A, in B. better, worse: those where B is furthest above, below A. settings: what the two reports were not made alike
    in (name, A's, B's).
    """

    first: str
    second: str
    examples: int
    same_text: int
    metric: str
    first_better: int
    second_better: int
    resampling: Resampling
    scores: tuple[Difference, ...]
    settings: tuple[tuple[str, str, str], ...]
    better: tuple[Change, ...]
    worse: tuple[Change, ...]


def read_side(path: Path) -> Run:
    """Read a folder or report.json of `picscribe evaluate`, or a results file; InputError where it is neither."""
    if path.is_dir() or path.name == REPORT:
        report, items = read_run(path)
        task = report.data.get("task")
        if task not in RESULT_FORMS:
            raise InputError(f"{path}: data.task must be one of {', '.join(RESULT_FORMS)}, found {task!r}")
        return Run(path, {item.id: item.prediction for item in items}, task, report, tuple(items))
    predictions, task = read_results(path)
    return Run(path, predictions, task)


def compare(
    first: Run,
    second: Run,
    dataset: Dataset | None = None,
    split: str | None = None,
    *,
    metric: str | None = None,
    most: int = 5,
    resampling: Resampling = USUAL_RESAMPLING,
) -> Comparison:
    """Score both sides alike and compare them example by example.

    dataset, split: what both are held against; None for the examples of a report. metric: a kind of answers' scores,
    or the score that examples are ranked by; None for the report's kind and the first score. most: how many examples
    to keep either way.
    Raises InputError where the two are not of the same examples, ConfigurationError where options do not fit.
    """
    items = _items(first, second, dataset, split)
    references = {item.id: item.references for item in items}
    for run in (first, second):
        _require_same_ids(run, references, _hashes(first, second))
    kind = _kind(first, second, dataset.format if dataset else "", references, metric)
    one, other = (score({i: run.predictions[i] for i in references}, references, kind) for run in (first, second))
    ranking = _ranking(one, kind, metric)
    changes = sorted(_changes(first, second, items, one, other), key=lambda change: _gain(change, ranking))
    worse = [change for change in changes if _gain(change, ranking) < 0]
    better = [change for change in reversed(changes) if _gain(change, ranking) > 0]
    return Comparison(
        first=str(first.path),
        second=str(second.path),
        examples=len(items),
        same_text=sum(first.predictions[item.id] == second.predictions[item.id] for item in items),
        metric=ranking,
        first_better=len(worse),
        second_better=len(better),
        resampling=resampling,
        scores=tuple(_difference(name, one[name], other[name], resampling) for name in one),
        settings=tuple(differences(first.report, second.report)) if first.report and second.report else (),
        better=tuple(better[:most]),
        worse=tuple(worse[:most]),
    )


def _items(first: Run, second: Run, dataset: Dataset | None, split: str | None) -> tuple[Item, ...]:
    """What both sides are held against."""
    if first.task != second.task:
        raise InputError(
            f"{first.path} has {first.task}, but {second.path} has {second.task}: compare results of one kind"
        )
    if dataset is not None:
        return tuple(Item(e.id, str(e.source), e.question, "", e.texts, {}) for e in dataset.select(split))
    if not first.report and not second.report:
        raise ConfigurationError(
            f"{first.path} and {second.path} are results files, which have no references: name the data set"
        )
    if first.report and second.report:
        known = {item.id: item.references for item in first.items}
        unlike = [item.id for item in second.items if known.get(item.id, item.references) != item.references]
        if unlike:
            raise InputError(
                f"{first.path} and {second.path} differ in the references of {_some(unlike)}{_hashes(first, second)}"
            )
    return first.items or second.items


def _require_same_ids(run: Run, references: Mapping[str, Sequence[str]], hashes: str) -> None:
    missing = [identity for identity in references if identity not in run.predictions]
    extra = [identity for identity in run.predictions if identity not in references]
    if missing or extra:
        parts = [f"it has no prediction of {_some(missing)}"] if missing else []
        parts += [f"it has predictions of {_some(extra)}, which the other side or the data set lacks"] if extra else []
        raise InputError(f"{run.path}: not the same examples: {'; '.join(parts)}{hashes}")


def _some(identities: Sequence[str]) -> str:
    named = ", ".join(map(repr, identities[:MOST_NAMED]))
    return f"{named} and {len(identities) - MOST_NAMED} more" if len(identities) > MOST_NAMED else named


def _hashes(first: Run, second: Run) -> str:
    """What the reports say of their data, where there are two and they differ."""
    if not first.report or not second.report or first.report.data.get("sha256") == second.report.data.get("sha256"):
        return ""
    return "".join(
        f"; {run.path} is of {run.report.data.get('path')} (sha256 {str(run.report.data.get('sha256'))[:12]})"
        for run in (first, second)
        if run.report
    )


def _kind(
    first: Run, second: Run, form: str, references: Mapping[str, Sequence[str]], metric: str | None
) -> MetricName:
    """How both sides are scored: as named, as their reports were, or as is usual."""
    if metric in get_args(AnswerMetric):
        return choose_metric(metric, first.task, form, references)
    kinds = {run.report.metric for run in (first, second) if run.report}
    if len(kinds) > 1:
        raise ConfigurationError(
            f"{first.path} and {second.path} were scored by {' and '.join(sorted(kinds))}: name one metric for both"
        )
    return choose_metric(kinds.pop() if kinds else None, first.task, form, references)


def _ranking(scores: Mapping[str, Metric], kind: str, metric: str | None) -> str:
    """The score that single examples are ranked by."""
    possible = [name for name, score in scores.items() if score.per_item]
    if metric is None or metric == kind:
        return possible[0]
    if metric not in possible:
        raise ConfigurationError(f"metric must be one of {', '.join(possible)} here, not {metric!r}")
    return metric


def _difference(name: str, first: Metric, second: Metric, resampling: Resampling) -> Difference:
    if first.statistic is None or second.statistic is None:
        return Difference(name, first.value, second.value, second.value - first.value, None, None)
    paired = compare_paired(second, first, resampling)
    return Difference(name, first.value, second.value, paired.difference, paired.interval, paired.p_value)


def _changes(
    first: Run, second: Run, items: Sequence[Item], one: Mapping[str, Metric], other: Mapping[str, Metric]
) -> list[Change]:
    return [
        Change(
            id=item.id,
            image=item.image,
            question=item.question,
            references=item.references,
            first=first.predictions[item.id],
            second=second.predictions[item.id],
            first_scores=scores_of(item.id, one),
            second_scores=scores_of(item.id, other),
        )
        for item in items
    ]


def _gain(change: Change, metric: str) -> float:
    """How much better B is; 0 for an example that does not count in the metric."""
    return change.second_scores.get(metric, 0) - change.first_scores.get(metric, 0)

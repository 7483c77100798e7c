"""What an evaluation leaves behind: report.json, items.json, predictions.json, each written whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from picscribe.datasets.values import identity
from picscribe.errors import InputError
from picscribe.text_files import read_json
from picscribe.whole_files import write_whole

REPORT, ITEMS, PREDICTIONS = "report.json", "items.json", "predictions.json"

OBJECTS = ("scores", "intervals", "model", "data", "generation", "resampling", "versions", "errors", "calibration")
"""The parts of a report that are JSON objects."""

RESULT_FORMS = {"captions": ("image_id", "caption"), "questions": ("question_id", "answer"), "labels": ("id", "label")}
"""The keys of an entry of a results file, by task: COCO's results form, EvalAI's for VQA, and ours for classes."""


@dataclass(frozen=True)
class Item:
    """One example of an evaluation: what the model said, what people said, and its scores by metric.

    image: path or name of the photo, for people. error: why the photo could not be used ("" where it could; then
    `prediction` is ""). confidence: how sure the model was, 0 to 1; None where it is not known.
    """

    id: str
    image: str
    question: str
    prediction: str
    references: tuple[str, ...]
    scores: dict[str, float]
    error: str = ""
    confidence: float | None = None


@dataclass(frozen=True)
class Report:
    """The whole evaluation: enough to know what was measured, with what, on what, and to do it again.

    intervals: confidence intervals by metric. seconds: of computing captions, summed over batches and processes.
    calibration: how right the sure answers are: `metric`, the score that says so, and `levels`, each the fields of a
    `picscribe.metrics.Confident`; {} where the confidences are not known.
    """

    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    metric: str
    model: dict[str, Any]
    data: dict[str, Any]
    generation: dict[str, Any]
    resampling: dict[str, Any]
    versions: dict[str, str]
    seconds: float
    errors: dict[str, str] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)


def write_run(folder: Path, report: Report, items: Sequence[Item]) -> None:
    """Write predictions.json, items.json and, last, report.json: if that exists, the others do too."""
    predictions = {item.id: item.prediction for item in items}
    write_whole(folder / PREDICTIONS, results_text(predictions, report.data["task"]))
    write_whole(folder / ITEMS, _lines([asdict(item) for item in items]))
    write_whole(folder / REPORT, json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n")


def results_text(predictions: Mapping[str, str], task: str) -> str:
    """A results file's content. Ids of digits become numbers: official evaluation code wants them so."""
    id_key, text_key = RESULT_FORMS[task]
    return _lines(
        [
            {id_key: int(name) if name.isdecimal() and str(int(name)) == name else name, text_key: text}
            for name, text in predictions.items()
        ]
    )


def _lines(entries: Sequence[Mapping[str, Any]]) -> str:
    """A JSON list with an entry a line."""
    return "[" + ",".join("\n" + json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n]\n"


def read_run(path: Path) -> tuple[Report, list[Item]]:
    """Read what `write_run` wrote, given the run's folder or its report.json.

    Raises InputError where the files are missing or of another form.
    """
    folder = path if path.is_dir() else path.parent
    report = read_json(folder / REPORT)
    entries = read_json(folder / ITEMS)
    try:
        report = {"calibration": {}, **report}  # of older runs
        known = {key.name: report[key.name] for key in fields(Report)}
        if wrong := [name for name in OBJECTS if not isinstance(known[name], dict)]:
            raise TypeError(f"{', '.join(wrong)} must be an object")
        if not isinstance(known["metric"], str) or not isinstance(known["data"].get("task"), str):
            raise TypeError("metric and data.task must be texts")
        known["intervals"] = {name: (low, high) for name, (low, high) in known["intervals"].items()}
        items = [_item(entry) for entry in entries]
        _require_texts(items)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder}: {REPORT} and {ITEMS} are not what `picscribe evaluate` writes ({error})"
        ) from error
    return Report(**known), items


def _item(entry: dict[str, Any]) -> Item:
    if not isinstance(entry["references"], list):
        raise TypeError("references must be a list")
    return Item(**{**entry, "references": tuple(entry["references"])})


def _require_texts(items: Sequence[Item]) -> None:
    seen: set[str] = set()
    for place, item in enumerate(items):
        texts = (item.id, item.image, item.question, item.prediction, item.error, *item.references)
        if not item.references or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{ITEMS} [{place}]: expected texts, and at least one reference")
        if item.id in seen:
            raise ValueError(f"{ITEMS} [{place}]: an earlier entry has the id {item.id!r} too")
        seen.add(item.id)


def read_results(path: Path) -> tuple[dict[str, str], str]:
    """Predictions by id from a results file, and their task: "captions", "questions" or "labels".

    A list of {"image_id", "caption"}, {"question_id", "answer"} or {"id", "label"}. Raises InputError that names the
    entry that is of another form or whose id came before.
    """
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{path}: expected a list of results such as [{{"image_id": 1, "caption": "a dog"}}]')
    tasks = [
        task for task, keys in RESULT_FORMS.items() if isinstance(entries[0], dict) and entries[0].keys() >= {*keys}
    ]
    if not tasks:
        forms = ", ".join(" and ".join(map(repr, keys)) for keys in RESULT_FORMS.values())
        raise InputError(f"{path}: [0] must be an object with {forms}")
    id_key, text_key = RESULT_FORMS[tasks[0]]
    predictions: dict[str, str] = {}
    for index, entry in enumerate(entries):
        where = f"{path}: [{index}]"
        if not isinstance(entry, dict) or not entry.keys() >= {id_key, text_key}:
            raise InputError(f"{where} must be an object with {id_key!r} and {text_key!r}")
        name, text = identity(entry[id_key], f"{where}.{id_key}"), entry[text_key]
        if not isinstance(text, str):
            raise InputError(f"{where}.{text_key} must be a text, found {str(text)[:80]!r}")
        if name in predictions:
            raise InputError(f"{where} has the {id_key} {name!r}, which an earlier entry has too: remove one")
        predictions[name] = text
    return predictions, tasks[0]


def read_predictions(path: Path, task: str) -> dict[str, str]:
    """Predictions by id from a results file that must be of `task`."""
    predictions, found = read_results(path)
    if found != task:
        raise InputError(f"{path}: has results for {found}, but the references are {task}: name other results")
    return predictions


def read_rankings(path: Path) -> dict[str, tuple[str, ...]]:
    """Class names, best first, by id, from a labels file whose entries say `"ranked": ["cat", "lynx"]`; else {}.

    For `top_k`. Raises InputError where some entries have a ranking and others none, or one is not a list of texts.
    """
    predictions = read_predictions(path, "labels")
    rankings = {identity(entry["id"], "id"): entry["ranked"] for entry in read_json(path) if "ranked" in entry}
    if not rankings:
        return {}
    for example, names in rankings.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path}: ranked of {example!r} must be a list of class names, found {str(names)[:80]!r}")
    if missing := [example for example in predictions if example not in rankings]:
        raise InputError(f'{path}: {missing[0]!r} has no "ranked", but others have')
    return {example: tuple(names) for example, names in rankings.items()}

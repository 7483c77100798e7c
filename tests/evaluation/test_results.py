"""Results files: COCO's and EvalAI's forms, written and read; what is of another form is named by its place."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from picscribe.errors import InputError
from picscribe.evaluation.results import Item, Report, read_predictions, read_results, read_run, results_text, write_run

REPORT = Report(
    scores={"CIDEr": 0.5},
    intervals={"CIDEr": (0.4, 0.6)},
    metric="captions",
    model={"name": "tiny"},
    data={"task": "captions"},
    generation={"beams": 4},
    resampling={"samples": 10},
    versions={"torch": "2"},
    seconds=1.5,
    errors={"b": "b.jpg: broken"},
)
ITEMS = [
    Item("1", "a.jpg", "", "a dog", ("a brown dog", "dog"), {"CIDEr": 1.0}),
    Item("b", "b.jpg", "", "", ("naïve ☃",), {"CIDEr": 0.0}, "b.jpg: broken"),
]


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_run(tmp_path, REPORT, ITEMS)
    assert read_run(tmp_path) == (REPORT, ITEMS)
    assert read_run(tmp_path / "report.json") == (REPORT, ITEMS)
    assert read_results(tmp_path / "predictions.json") == ({"1": "a dog", "b": ""}, "captions")


@pytest.mark.parametrize(
    ("task", "entry"),
    [
        ("captions", {"image_id": 12, "caption": "a dog"}),
        ("questions", {"question_id": 12, "answer": "a dog"}),
        ("labels", {"id": 12, "label": "a dog"}),
    ],
)
def test_each_task_has_its_form(task: str, entry: dict[str, Any], tmp_path: Path) -> None:
    text = results_text({"12": "a dog"}, task)
    assert json.loads(text) == [entry]
    (tmp_path / "r.json").write_text(text)
    assert read_predictions(tmp_path / "r.json", task) == {"12": "a dog"}


def test_only_what_reads_back_as_the_same_text_becomes_a_number() -> None:
    names = ["7", "007", "-7", "7.0", "٧", "x7"]
    written = [entry["image_id"] for entry in json.loads(results_text(dict.fromkeys(names, ""), "captions"))]
    assert written == [7, *names[1:]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("[", "not valid JSON"),
        ("{}", "expected a list of results"),
        ("[]", "expected a list of results"),
        ("[3]", r"\[0\] must be an object with 'image_id' and 'caption'"),
        ('[{"image_id": 1}]', r"\[0\] must be an object"),
        (
            '[{"image_id": 1, "caption": "a"}, {"image_id": 2}]',
            r"\[1\] must be an object with 'image_id' and 'caption'",
        ),
        ('[{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "b"}]', r"\[1\] has the image_id '1'"),
        ('[{"image_id": 1, "caption": "a"}, {"image_id": "1", "caption": "b"}]', r"\[1\] has the image_id '1'"),
        ('[{"image_id": 1, "caption": "a"}, {"image_id": 1.0, "caption": "b"}]', r"\[1\] has the image_id '1'"),
        ('[{"image_id": true, "caption": "a"}]', r"\[0\]\.image_id must be a whole number or a text"),
        ('[{"image_id": 1.5, "caption": "a"}]', r"\[0\]\.image_id must be a whole number or a text"),
        ('[{"image_id": 1, "caption": null}]', r"\[0\]\.caption must be a text"),
    ],
)
def test_another_form_is_named_by_its_place(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError, match=words):
        read_results(tmp_path / "r.json")


def test_results_of_another_task_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(results_text({"1": "yes"}, "questions"))
    with pytest.raises(InputError, match="has results for questions, but the references are captions"):
        read_predictions(tmp_path / "r.json", "captions")


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"scores": 3},
        [],
        {**asdict(REPORT), "data": "x"},
        {**asdict(REPORT), "errors": []},
        {**asdict(REPORT), "metric": 5},
        {**asdict(REPORT), "data": {"task": ["captions"]}},
    ],
)
def test_a_report_of_another_form_is_named(broken: Any, tmp_path: Path) -> None:
    write_run(tmp_path, REPORT, ITEMS)
    (tmp_path / "report.json").write_text(json.dumps(broken))
    with pytest.raises(InputError, match="not what `picscribe evaluate` writes"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        ({"prediction": 5}, r"items\.json \[0\]: expected texts"),
        ({"question": None}, r"items\.json \[0\]: expected texts"),
        ({"references": []}, r"items\.json \[0\]: .* at least one reference"),
        ({"references": [5]}, r"items\.json \[0\]: expected texts"),
        ({"references": "a dog"}, "references must be a list"),
        ({"id": "b"}, r"items\.json \[1\]: an earlier entry has the id 'b' too"),
    ],
)
def test_items_edited_by_hand_are_named(edited: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_run(tmp_path, REPORT, ITEMS)
    entries = json.loads((tmp_path / "items.json").read_text(encoding="utf-8"))
    (tmp_path / "items.json").write_text(json.dumps([{**entries[0], **edited}, *entries[1:]]))
    with pytest.raises(InputError, match=words):
        read_run(tmp_path)

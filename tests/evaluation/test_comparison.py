"""Two runs compared: the same examples or a clear error, scores as each side alone, p-values and counts by hand."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from picscribe.datasets.dataset import Dataset
from picscribe.datasets.examples import Example
from picscribe.errors import ConfigurationError, InputError
from picscribe.evaluation.comparison import Comparison, Run, compare, read_side
from picscribe.evaluation.results import Item, Report, results_text, write_run
from picscribe.metrics.bleu import bleu
from picscribe.metrics.bootstrap import Resampling
from picscribe.metrics.cider import cider

REFERENCES = {
    "1": ("a brown dog runs", "the dog is running"),
    "2": ("two cats sleep on a bed", "cats on a bed"),
    "3": ("a man rides a horse", "a person on a horse"),
    "4": ("people eat at a table", "a family has dinner"),
}
FIRST = {"1": "a dog", "2": "two cats sleep on a bed", "3": "a horse", "4": "people at a table"}
SECOND = {"4": "people at a table", "3": "a man rides a horse", "2": "a bed", "1": "a brown dog runs"}
FEW = Resampling(samples=50, seed=3)


def report_of(metric: str = "captions", task: str = "captions", **changes: Any) -> Report:
    parts = {
        "model": {"name": "tiny", "sha256": "aa"},
        "data": {"path": "birds.json", "task": task, "sha256": "d1"},
        "generation": {"beams": 4, "banned_words": []},
        "versions": {"torch": "2.13"},
    }
    for name, value in changes.items():
        part, _, key = name.partition("__")
        parts[part] = {**parts[part], key: value}
    return Report(scores={}, intervals={}, metric=metric, resampling={"samples": 9}, seconds=1.0, **parts)


def run_of(
    name: str,
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]] = REFERENCES,
    report: Report | None = None,
) -> Run:
    items = [Item(i, f"{i}.jpg", "", text, tuple(references[i]), {}) for i, text in predictions.items()]
    report = report or report_of()
    return Run(Path(name), dict(predictions), report.data["task"], report, tuple(items))


def results_of(name: str, predictions: Mapping[str, str], task: str = "captions") -> Run:
    return Run(Path(name), dict(predictions), task)


def data_of(references: Mapping[str, Sequence[str]], format: str = "coco") -> Dataset:
    examples = [Example(i, Path("photos", f"{i}.jpg"), tuple(texts), split="val") for i, texts in references.items()]
    return Dataset(Path("data"), format, "captions", (*examples, Example("else", Path("e.jpg"), ("x",), split="test")))


def test_scores_are_those_of_each_side_alone_and_the_difference_is_b_minus_a() -> None:
    found = compare(run_of("a", FIRST), run_of("b", SECOND), resampling=FEW)
    assert (found.first, found.second, found.examples, found.resampling) == ("a", "b", 4, FEW)
    scores = {score.metric: score for score in found.scores}
    for side, predictions in (("first", FIRST), ("second", SECOND)):
        expected = {"CIDEr": cider(predictions, REFERENCES).corpus}
        expected |= {f"BLEU-{n}": score for n, score in enumerate(bleu(predictions, REFERENCES).corpus, 1)}
        assert {name: getattr(scores[name], side) for name in expected} == pytest.approx(expected)
    for score in found.scores:
        assert score.difference == pytest.approx(score.second - score.first)
    assert scores["distinct"].interval is None and scores["distinct"].p_value is None


def test_intervals_and_p_values_are_those_of_paired_samples_drawn_one_by_one() -> None:
    rng = random.Random(5)
    references = {str(n): ["yes"] for n in range(60)}
    one = {name: "yes" if rng.random() < 0.4 else "no" for name in references}
    other = {name: "yes" if rng.random() < 0.7 else "no" for name in references}
    report = report_of("exact-match", "questions")
    found = compare(
        run_of("a", one, references, report),
        run_of("b", other, references, report),
        resampling=Resampling(samples=4000, seed=1),
    )
    (score,) = found.scores
    gains = [(other[name] == "yes") - (one[name] == "yes") for name in references]
    mean = sum(gains) / 60
    drawn = sorted(sum(rng.choices(gains, k=60)) / 60 for _ in range(4000))
    assert score.difference == pytest.approx(mean)
    assert score.interval == pytest.approx((drawn[100], drawn[3900]), abs=0.03)
    assert score.p_value == pytest.approx(sum(abs(d - mean) >= abs(mean) for d in drawn) / 4000, abs=0.02)
    same = compare(run_of("a", one, references, report), run_of("b", one, references, report), resampling=FEW)
    assert (same.scores[0].difference, same.scores[0].p_value, same.same_text) == (0, 1.0, 60)
    assert (same.better, same.worse) == ((), ())


def by_id(found: Comparison) -> tuple[list[str], list[str]]:
    return [change.id for change in found.better], [change.id for change in found.worse]


def test_examples_are_counted_and_ranked_by_how_much_they_changed() -> None:
    found = compare(run_of("a", FIRST), run_of("b", SECOND), resampling=FEW)
    gains = {
        name: cider(SECOND, REFERENCES).per_item[name] - cider(FIRST, REFERENCES).per_item[name] for name in REFERENCES
    }
    assert gains["4"] == 0
    better = sorted((name for name in gains if gains[name] > 0), key=lambda name: -gains[name])
    assert by_id(found) == (better, ["2"])
    assert sorted(better) == ["1", "3"]
    assert (found.same_text, found.first_better, found.second_better, found.metric) == (1, 1, 2, "CIDEr")
    worst = found.worse[0]
    assert (worst.first, worst.second, worst.references) == (FIRST["2"], SECOND["2"], REFERENCES["2"])
    assert worst.second_scores["CIDEr"] - worst.first_scores["CIDEr"] == pytest.approx(gains["2"])
    few = compare(run_of("a", FIRST), run_of("b", SECOND), most=1, metric="BLEU-1", resampling=FEW)
    assert (len(few.better), len(few.worse), few.metric) == (1, 1, "BLEU-1")
    assert (few.first_better, few.second_better) == (1, 2)


def test_the_other_way_round_everything_is_turned_round() -> None:
    there, back = (
        compare(one, other, data_of(REFERENCES), "val", resampling=FEW)
        for one, other in permutations((run_of("a", FIRST), run_of("b", SECOND)))
    )
    assert by_id(back) == by_id(there)[::-1]
    assert [score.difference for score in back.scores] == pytest.approx([-score.difference for score in there.scores])


def test_results_files_are_held_against_a_data_set_and_score_as_reports_do() -> None:
    with_reports = compare(run_of("a", FIRST), run_of("b", SECOND), resampling=FEW)
    plain = compare(results_of("a", FIRST), results_of("b", SECOND), data_of(REFERENCES), "val", resampling=FEW)
    mixed = compare(run_of("a", FIRST), results_of("b", SECOND), resampling=FEW)
    for found in (plain, mixed):
        assert found.scores == with_reports.scores
        assert by_id(found) == by_id(with_reports)
    assert plain.better[0].image == str(Path("photos", f"{plain.better[0].id}.jpg"))
    assert plain.settings == mixed.settings == ()


def test_what_else_differs_between_two_reports_is_listed() -> None:
    one = run_of("a", FIRST)
    other = run_of("b", SECOND, report=report_of(model__sha256="bb", generation__beams=1, versions__numpy="2.3"))
    found = compare(one, other, resampling=FEW)
    assert found.settings == (
        ("Model: sha256", "aa", "bb"),
        ("Generation: beams", "4", "1"),
        ("Versions: numpy", "–", "2.3"),
    )


@pytest.mark.parametrize(
    ("task", "references", "metric", "names"),
    [
        ("labels", {"1": ["dog"], "2": ["cat"]}, None, ["top-1", "equal", "in"]),
        ("labels", {"1": ["dog"], "2": ["cat"]}, "in", ["top-1", "equal", "in"]),
        ("questions", {"1": ["dog"], "2": ["cat"]}, None, ["exact-match"]),
        ("questions", {"1": ["dog"] * 10, "2": ["cat"] * 10}, None, ["vqa-accuracy"]),
        ("questions", {"1": ["dog"] * 10, "2": ["cat"] * 10}, "scene-text", ["scene-text"]),
    ],
)
def test_answers_without_a_report_are_scored_as_is_usual_or_as_told(
    task: str, references: dict[str, list[str]], metric: str | None, names: list[str]
) -> None:
    sides = [results_of(name, {"1": said, "2": "cat"}, task) for name, said in (("a", "a bird"), ("b", "dog"))]
    found = compare(*sides, data_of(references), "val", metric=metric, resampling=FEW)
    assert [score.metric for score in found.scores] == names
    assert found.metric == (metric or names[0])
    assert by_id(found) == (["1"], [])


# What cannot be compared


def test_other_examples_are_named_with_the_hashes_of_both_data_sets() -> None:
    references = {**REFERENCES, "5": ("a bird",)}
    other = run_of("b", {**SECOND, "5": "a bird"}, references, report_of(data__sha256="d2"))
    with pytest.raises(InputError) as caught:
        compare(run_of("a", FIRST), other)
    for words in (
        "b: not the same examples",
        "'5'",
        "a is of birds.json (sha256 d1)",
        "b is of birds.json (sha256 d2)",
    ):
        assert words in str(caught.value)
    with pytest.raises(InputError, match="a: not the same examples: it has no prediction of '5'"):
        compare(other, run_of("a", FIRST))
    many = {str(n): ("x",) for n in range(20)}
    with pytest.raises(InputError, match=r"no prediction of '0', '5', '6', '7', '8' and 11 more"):
        compare(results_of("a", FIRST), results_of("b", SECOND), data_of(many), "val")


def test_other_references_of_the_same_ids_are_named() -> None:
    other = run_of("b", SECOND, {**REFERENCES, "3": ("a horse",)})
    with pytest.raises(InputError, match="a and b differ in the references of '3'"):
        compare(run_of("a", FIRST), other)
    assert compare(run_of("a", FIRST), other, data_of(REFERENCES), "val", resampling=FEW).examples == 4


def test_captions_and_answers_are_not_compared() -> None:
    with pytest.raises(InputError, match="a has captions, but b has questions"):
        compare(run_of("a", FIRST), results_of("b", SECOND, "questions"))


def test_results_files_alone_need_a_data_set() -> None:
    with pytest.raises(ConfigurationError, match="have no references: name the data set"):
        compare(results_of("a", FIRST), results_of("b", SECOND))


def test_two_ways_to_score_need_one_named() -> None:
    references = {"1": ("dog",), "2": ("cat",)}
    sides = [
        run_of(metric, {"1": "dog", "2": "dog"}, references, report_of(metric, "questions"))
        for metric in ("exact-match", "scene-text")
    ]
    with pytest.raises(ConfigurationError, match="scored by exact-match and scene-text: name one metric"):
        compare(*sides)
    assert compare(*sides, metric="scene-text", resampling=FEW).metric == "scene-text"


@pytest.mark.parametrize("metric", ["distinct", "BLEU", "captions!", ""])
def test_a_score_that_examples_do_not_have_is_refused(metric: str) -> None:
    with pytest.raises(ConfigurationError, match=f"metric must be one of CIDEr, .*, not '{metric}'"):
        compare(run_of("a", FIRST), run_of("b", SECOND), metric=metric)


def test_captions_are_not_scored_as_answers() -> None:
    with pytest.raises(ConfigurationError, match="'vqa-accuracy' cannot score captions"):
        compare(run_of("a", FIRST), run_of("b", SECOND), metric="vqa-accuracy")


def test_a_data_set_with_a_metric_of_its_own_is_scored_by_it() -> None:
    references = {"1": ["dog"] * 10}
    sides = [results_of(name, {"1": "dog"}, "questions") for name in "ab"]
    found = compare(*sides, data_of(references, "textvqa"), "val", resampling=FEW)
    assert found.metric == "textvqa-accuracy"


# Reading


def test_a_folder_its_report_and_a_results_file_are_read(tmp_path: Path) -> None:
    run = run_of("x", FIRST)
    assert run.report
    write_run(tmp_path, run.report, run.items)
    for path in (tmp_path, tmp_path / "report.json"):
        assert read_side(path) == replace(run, path=path)
    assert read_side(tmp_path / "predictions.json") == results_of(str(tmp_path / "predictions.json"), FIRST)
    (tmp_path / "answers.json").write_text(results_text(FIRST, "questions"))
    assert read_side(tmp_path / "answers.json").task == "questions"


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.json: cannot be read"):
        read_side(tmp_path)
    with pytest.raises(InputError, match=r"results\.json: cannot be read"):
        read_side(tmp_path / "results.json")


def test_a_report_of_no_known_task_is_named(tmp_path: Path) -> None:
    run = run_of("x", FIRST)
    assert run.report
    write_run(tmp_path, run.report, run.items)
    report = tmp_path / "report.json"
    report.write_text(report.read_text().replace('"captions"', '"poems"'))
    with pytest.raises(InputError, match=r"data\.task must be one of captions, questions, labels, found 'poems'"):
        read_side(tmp_path)

"""`picscribe score-captions` and `score-answers`: results files in, scores out, no model and no photos needed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from picscribe.cli.main import app
from picscribe.metrics import DocumentFrequencies, cider
from picscribe.metrics.scores import score_captions

CAPTIONS = {
    1: ["A dog runs on the grass.", "A brown dog."],
    2: ["Two cats sit on a wall.", "Cats on a wall"],
    3: ["A man in red.", "The man stands."],
}
SAID = {1: "a dog runs", 2: "two cats on a wall", 3: "a man in a red shirt"}


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """COCO's annotations of photos that are not there."""
    texts = [(image, text) for image, captions in CAPTIONS.items() for text in captions]
    content = {
        "images": [{"id": image, "file_name": f"{image}.jpg"} for image in CAPTIONS],
        "annotations": [{"id": n, "image_id": image, "caption": text} for n, (image, text) in enumerate(texts)],
    }
    (tmp_path / "captions.json").write_text(json.dumps(content))
    return tmp_path / "captions.json"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "r.json").write_text(json.dumps([{"image_id": n, "caption": text} for n, text in SAID.items()]))
    return tmp_path / "r.json"


def expected() -> dict[str, float]:
    scores = score_captions({str(n): text for n, text in SAID.items()}, {str(n): c for n, c in CAPTIONS.items()})
    return {name: metric.value for name, metric in scores.items()}


def test_captions_are_scored_as_in_python(runner: CliRunner, results: Path, references: Path) -> None:
    result = runner.invoke(app, ["score-captions", str(results), str(references)])
    assert result.exit_code == 0, result.output
    printed = dict(line.partition("  (")[0].rsplit(maxsplit=1) for line in result.stdout.splitlines())
    assert {name: float(value) for name, value in printed.items()} == pytest.approx(expected(), abs=6e-5)
    as_json = json.loads(runner.invoke(app, ["score-captions", str(results), str(references), "--json"]).stdout)
    assert as_json["scores"] == pytest.approx(expected())
    low, high = as_json["intervals"]["CIDEr"]
    assert low <= expected()["CIDEr"] <= high


def test_document_frequencies_of_a_corpus(runner: CliRunner, results: Path, references: Path, tmp_path: Path) -> None:
    """CIDEr of one image: 0 with its own references' frequencies, where every word is as common as can be."""
    corpus = tmp_path / "corpus.json"
    made = runner.invoke(app, ["data", "frequencies", str(references), str(corpus)])
    assert made.exit_code == 0, made.output
    assert "3 images" in made.stdout
    command = ["score-captions", str(results), str(references), "--json"]
    whole = json.loads(runner.invoke(app, command).stdout)["scores"]
    assert json.loads(runner.invoke(app, [*command, "--document-frequencies", str(corpus)]).stdout)["scores"] == whole

    content = json.loads(references.read_text())
    content["images"] = content["images"][:1]
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] == 1]
    references.write_text(json.dumps(content))
    results.write_text(json.dumps([{"image_id": 1, "caption": SAID[1]}]))
    alone = runner.invoke(app, command)
    assert json.loads(alone.stdout)["scores"]["CIDEr"] == 0
    assert "warning: CIDEr of a single image is 0" in alone.stderr
    of_corpus = runner.invoke(app, [*command, "--document-frequencies", str(corpus)])
    assert of_corpus.stderr == ""
    scored = json.loads(of_corpus.stdout)["scores"]
    frequencies = DocumentFrequencies.load(corpus)
    assert scored["CIDEr"] == pytest.approx(cider({"1": SAID[1]}, {"1": CAPTIONS[1]}, frequencies).corpus)
    assert scored["CIDEr"] > 0


def test_no_torch_is_needed(results: Path, references: Path) -> None:
    code = (
        "import sys; from picscribe.cli.main import app\n"
        f"app(['score-captions', {str(results)!r}, {str(references)!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"image_id": 1, "caption": "a dog"}], "2 of 3 images have references but no prediction: '2', '3'"),
        ([{"image_id": n, "caption": "a dog"} for n in (1, 2, 3, 4)], "have no references: '4'"),
        ([{"question_id": 1, "answer": "yes"}], "has results for questions, but the references are captions"),
    ],
)
def test_what_does_not_fit_is_named(
    runner: CliRunner, results: Path, references: Path, content: Any, words: str
) -> None:
    results.write_text(json.dumps(content))
    result = runner.invoke(app, ["score-captions", str(results), str(references)])
    assert result.exit_code == 1
    assert words in result.stderr
    assert result.stdout == ""


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two photos a class: a folder for each."""
    from PIL import Image

    for name in ("cat", "tench"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for number in (1, 2):
            Image.new("RGB", (8, 8)).save(tmp_path / "classes" / name / f"{number}.png")
    return tmp_path / "classes"


@pytest.mark.parametrize(
    ("metric", "scores"),
    [
        (None, {"top-1": 0.5, "equal": 0.5, "in": 0.75}),
        ("exact-match", {"exact-match": 0.5}),
        ("scene-text", {"scene-text": 0.75}),
    ],
)
def test_labels_are_scored_by_the_metric_asked_for(
    runner: CliRunner, classes: Path, tmp_path: Path, metric: str | None, scores: dict[str, float]
) -> None:
    from picscribe.datasets import read_dataset

    said = iter(["cat", "a cat on a mat", "tench", "Ten-ch!"])
    labels = [{"id": example.id, "label": next(said)} for example in read_dataset(classes).examples]
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    command = ["score-answers", str(tmp_path / "labels.json"), str(classes), "--json"]
    result = runner.invoke(app, [*command, *(["--metric", metric] if metric else [])])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scores"] == scores
    wrong = runner.invoke(app, [*command, "--metric", "cider"])
    assert wrong.exit_code == 2
    assert "unknown metric 'cider' for labels: choose among vqa-accuracy" in wrong.stderr


def test_ranked_labels_give_top_5(runner: CliRunner, classes: Path, tmp_path: Path) -> None:
    from picscribe.datasets import read_dataset

    examples = read_dataset(classes).examples
    others = ["dog", "horse", "ship", "plane"]
    places = [0, 4, 5, 1]  # where each example's own label stands in its ranking: the third is too late
    entries: list[dict[str, Any]] = []
    for example, place in zip(examples, places, strict=True):
        ranked = [*[*others, "truck"][:place], example.texts[0]]
        entries.append({"id": example.id, "label": ranked[0], "ranked": ranked})
    results = tmp_path / "ranked.json"
    results.write_text(json.dumps(entries))
    command = ["score-answers", str(results), str(classes), "--json"]
    scores = json.loads(runner.invoke(app, command).stdout)["scores"]
    assert (scores["top-1"], scores["top-5"]) == (0.25, 0.75)
    for broken, says in ((None, "has no"), ("cat", "must be a list of class names")):
        changed = [dict(entry) for entry in entries]
        changed[1].pop("ranked")
        if broken:
            changed[1]["ranked"] = broken
        results.write_text(json.dumps(changed))
        refused = runner.invoke(app, command)
        assert refused.exit_code == 1 and says in refused.stderr, refused.output


def test_a_question_that_all_annotators_left_empty_counts_as_the_official_evaluation_has_it(
    runner: CliRunner, tmp_path: Path
) -> None:
    """The empty answer is right, any other is wrong; the file is not refused. Ids may be written 1.0, as tables do."""
    questions = [{"question_id": n, "image_id": 42, "question": "what?"} for n in (1, 2, 3)]
    answers = {1: ["yes"] * 10, 2: [""] * 10, 3: [""] * 10}
    annotations = [
        {"question_id": float(n), "answers": [{"answer": answer} for answer in given]} for n, given in answers.items()
    ]
    asked = tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json"
    asked.write_text(json.dumps({"data_subtype": "val2014", "questions": questions}))
    (tmp_path / "v2_mscoco_val2014_annotations.json").write_text(json.dumps({"annotations": annotations}))
    results = [{"question_id": n, "answer": said} for n, said in ((1.0, "yes"), (2, ""), ("3", "yes"))]
    (tmp_path / "results.json").write_text(json.dumps(results))
    result = runner.invoke(app, ["score-answers", str(tmp_path / "results.json"), str(asked), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scores"] == {"vqa-accuracy": pytest.approx(2 / 3)}

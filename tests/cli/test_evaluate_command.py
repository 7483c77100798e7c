"""`picscribe evaluate` on a dozen photos: scores on screen, captions in COCO's form, an exit code that tells."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import picscribe
from picscribe.cli.main import app
from picscribe.datasets import read_karpathy
from picscribe.evaluation.captioning import score_captions

METRICS = ["CIDEr", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "distinct"]


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> Path:
    """A folder with dataset.json and images/: photos 1 to 8 are `val`, the others `test`; COCO's ids are numbers."""
    shutil.copytree(photos, tmp_path / "data" / "images")
    entries = [
        {
            "filename": f"photo{number}.png",
            "cocoid": 1000 + number,
            "split": "val" if number <= 8 else "test",
            "sentences": [{"raw": "A dog runs on the red grass."}, {"raw": f"The cat of man number {number} sits."}],
        }
        for number in range(1, 13)
    ]
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"images": entries}))
    return tmp_path / "data"


@pytest.fixture
def evaluate(runner: CliRunner, tiny_model: Path, data: Path) -> Any:
    def run(*arguments: object, model: object = tiny_model) -> Result:
        return runner.invoke(
            app, ["evaluate", str(model), str(data / "dataset.json"), str(data / "images"), *map(str, arguments)]
        )

    return run


def printed_scores(result: Result) -> dict[str, float]:
    return {name: float(value) for name, value in (line.split() for line in result.stdout.splitlines()[:7])}


def test_scores_are_those_of_the_captions_given_one_by_one(evaluate: Any, tiny_model: Path, data: Path) -> None:
    result = evaluate("--beams", 2, "--length-penalty", 1.0, "--max-words", 8, "--batch-size", 3)
    assert result.exit_code == 0, result.output
    scribe = picscribe.load(tiny_model)
    images = read_karpathy(data / "dataset.json", data / "images", "val")
    texts = {
        image.id: scribe.caption(image.path, beams=2, length_penalty=1.0, max_new_tokens=8).text for image in images
    }
    expected = score_captions(texts, images)
    scores = printed_scores(result)
    assert list(scores) == METRICS
    assert scores == pytest.approx(expected, abs=6e-5)
    assert scores["BLEU-1"] > 0
    assert result.stdout.splitlines()[7].startswith("8 images of val, 2 beams, ")
    assert result.stderr == ""


def test_captions_are_written_in_cocos_results_form(
    evaluate: Any, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    result = evaluate("--split", "test", "--output", tmp_path / "captions.json")
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "captions.json").read_text(encoding="utf-8"))
    scribe = picscribe.load(tiny_model)
    assert written == [
        {"image_id": 1000 + number, "caption": scribe.caption(data / "images" / f"photo{number}.png").text}
        for number in range(9, 13)
    ]


def test_ids_that_are_file_names_stay_so(evaluate: Any, data: Path, tmp_path: Path) -> None:
    dataset = json.loads((data / "dataset.json").read_text())
    for entry in dataset["images"]:
        del entry["cocoid"]
    (data / "dataset.json").write_text(json.dumps(dataset))
    assert evaluate("--output", tmp_path / "captions.json").exit_code == 0
    names = [row["image_id"] for row in json.loads((tmp_path / "captions.json").read_text())]
    assert names == [f"photo{number}.png" for number in range(1, 9)]


def test_a_broken_image_counts_as_empty_is_named_and_exits_with_1(evaluate: Any, data: Path, tmp_path: Path) -> None:
    whole = printed_scores(evaluate())
    (data / "images" / "photo3.png").write_bytes(b"no image at all")
    result = evaluate("--output", tmp_path / "captions.json")
    assert result.exit_code == 1
    assert result.stderr.startswith("picscribe: 1003: ")
    assert "photo3.png" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    scores = printed_scores(result)
    assert list(scores) == METRICS
    assert scores["ROUGE-L"] < whole["ROUGE-L"]
    written = {row["image_id"]: row["caption"] for row in json.loads((tmp_path / "captions.json").read_text())}
    assert len(written) == 8
    assert [name for name, caption in written.items() if caption == ""] == [1003]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--split", "train"], 1, "no images of split 'train'; it has 'test', 'val'"),
        (["--beams", "0"], 2, "--beams"),
        (["--beams", "100"], 2, "the vocabulary has only"),
        (["--length-penalty", "99"], 2, "length_penalty must be a number from -10 to 10"),
        (["--device", "toaster"], 2, "device 'toaster' cannot be used"),
        (["--revision", "v2"], 2, "revision 'v2' goes with a name on the Hugging Face hub"),
        (["--output", "nowhere/captions.json"], 2, "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_done_is_named(evaluate: Any, arguments: list[str], code: int, words: str) -> None:
    result = evaluate(*arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""


def test_a_model_that_is_not_there_is_named(evaluate: Any, tmp_path: Path) -> None:
    result = evaluate(model=tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr

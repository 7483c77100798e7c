"""`picscribe evaluate` on a dozen photos: scores on screen, a folder of results, killed and resumed."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import picscribe
from picscribe.cli.main import app
from picscribe.datasets import load_examples
from picscribe.metrics.scores import score_captions
from picscribe.metrics.vqa_accuracy import vqa_accuracy

METRICS = ["CIDEr", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "named things"]
METRICS += ["distinct", "vocabulary", "CIDEr shuffled"]


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> Path:
    """A folder with dataset.json and images/: photos 1 to 8 are `val`, the others `test`; COCO's ids are numbers."""
    shutil.copytree(photos, tmp_path / "data" / "images")
    entries = [
        {
            "filename": f"photo{number}.png",
            "cocoid": 1000 + number,
            "split": "val" if number <= 8 else "test",
            "sentences": [{"raw": "A dog runs on the red grass."}, {"raw": f"The dog of man number {number} sits."}],
        }
        for number in range(1, 13)
    ]
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"images": entries}))
    return tmp_path / "data"


@pytest.fixture
def evaluate(runner: CliRunner, tiny_model: Path, data: Path) -> Any:
    def run(*arguments: object, model: object = tiny_model, split: str = "val") -> Result:
        command = ["evaluate", str(model), str(data), "--split", split, *map(str, arguments)]
        return runner.invoke(app, command)

    return run


def printed_scores(result: Result) -> dict[str, float]:
    lines = [line.partition("  (")[0].rsplit(maxsplit=1) for line in result.stdout.splitlines()[: len(METRICS)]]
    return {name: float(value) for name, value in lines}


def report_of(folder: Path) -> dict[str, Any]:
    """report.json without what may differ from one run to the next."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    assert report.pop("seconds") > 0
    return report


def answered(folder: Path) -> list[str]:
    """Ids of every answer that was computed, in whichever process."""
    lines = [line for file in (folder / "answers").glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted(answer["id"] for line in lines for answer in json.loads(line)["answers"])


def test_scores_are_those_of_the_captions_given_one_by_one(evaluate: Any, tiny_model: Path, data: Path) -> None:
    result = evaluate("--beams", 2, "--length-penalty", 1.0, "--max-words", 8, "--batch-size", 3)
    assert result.exit_code == 0, result.output
    scribe = picscribe.load(tiny_model)
    _, examples = load_examples(data, None, "val")
    texts = {
        example.id: scribe.caption(example.image(), beams=2, length_penalty=1.0, max_new_tokens=8).text
        for example in examples
    }
    expected = score_captions(texts, {example.id: example.texts for example in examples})
    scores = printed_scores(result)
    assert list(scores) == METRICS
    assert scores == pytest.approx({name: metric.value for name, metric in expected.items()}, abs=6e-5)
    assert scores["BLEU-1"] > 0
    lines = result.stdout.splitlines()[len(METRICS) :]
    assert lines[0].split() == ["confidence", "kept", "share", "named", "things"]
    assert lines[1].split()[:3] == ["any", "8", "100.0%"]
    assert lines[7].startswith("8 examples of val, 2 beams, ")
    assert result.stderr == ""


def test_the_folder_holds_predictions_items_report_and_page(
    evaluate: Any, tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = evaluate("--output", out, "--seed", 5, split="test")
    assert result.exit_code == 0, result.output
    assert json.loads((out / "predictions.json").read_text(encoding="utf-8")) == [
        {
            "image_id": 1000 + number,
            "caption": picscribe.load(tiny_model).caption(data / "images" / f"photo{number}.png").text,
        }
        for number in range(9, 13)
    ]
    report = report_of(out)
    assert report["scores"] == pytest.approx(printed_scores(result), abs=6e-5)
    assert report["intervals"].keys() == {*METRICS[:7]}
    assert all(low <= high for low, high in report["intervals"].values())
    assert report["data"].items() >= {"split": "test", "examples": 4, "format": "karpathy", "task": "captions"}.items()
    assert report["resampling"] == {"samples": 1000, "level": 0.95, "seed": 5}
    assert report["generation"]["beams"] == 4
    assert len(report["model"]["sha256"]) == len(report["data"]["sha256"]) == 64
    assert report["versions"]["picscribe"] == picscribe.__version__
    items = json.loads((out / "items.json").read_text())
    assert [item["id"] for item in items] == ["1009", "1010", "1011", "1012"]
    assert items[0]["scores"].keys() == {*METRICS[:7]}
    assert [item["confidence"] for item in items] == [
        pytest.approx(picscribe.load(tiny_model).caption(data / "images" / f"photo{number}.png").confidence)
        for number in range(9, 13)
    ]
    assert report["calibration"]["metric"] == "named things"
    assert [level["threshold"] for level in report["calibration"]["levels"]] == [0.0, 0.5, 0.6, 0.7, 0.8, 0.9]
    for level in report["calibration"]["levels"]:
        kept = [item for item in items if item["confidence"] >= level["threshold"]]
        right = [item["scores"]["named things"] for item in kept]
        assert (level["kept"], level["judged"]) == (len(kept), len(right))
        assert level["right"] == (pytest.approx(sum(right) / len(right)) if right else None)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<h2>Confidence</h2>" in page
    assert page.count("data:image/jpeg;base64,") >= 4


def test_ids_that_are_file_names_stay_so(evaluate: Any, data: Path, tmp_path: Path) -> None:
    dataset = json.loads((data / "dataset.json").read_text())
    for entry in dataset["images"]:
        del entry["cocoid"]
    (data / "dataset.json").write_text(json.dumps(dataset))
    assert evaluate("--output", tmp_path / "out").exit_code == 0
    names = [row["image_id"] for row in json.loads((tmp_path / "out" / "predictions.json").read_text())]
    assert names == [f"photo{number}.png" for number in range(1, 9)]


def test_a_broken_image_counts_as_empty_is_named_and_exits_with_1(evaluate: Any, data: Path, tmp_path: Path) -> None:
    whole = printed_scores(evaluate())
    (data / "images" / "photo3.png").write_bytes(b"no image at all")
    result = evaluate("--output", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("picscribe: 1003: ")
    assert "photo3.png" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    scores = printed_scores(result)
    assert scores["ROUGE-L"] < whole["ROUGE-L"]
    written = {
        row["image_id"]: row["caption"] for row in json.loads((tmp_path / "out" / "predictions.json").read_text())
    }
    assert len(written) == 8
    assert [name for name, caption in written.items() if caption == ""] == [1003]
    assert report_of(tmp_path / "out")["errors"].keys() == {"1003"}


def test_what_changes_numbers_is_part_of_what_an_evaluation_is(evaluate: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate("--dtype", "bfloat16", "--output", out).exit_code == 0
    identity = json.loads((out / "answers" / "identity.json").read_text())
    assert identity.items() >= {"dtype": "bfloat16", "quantize": None, "compile": False}.items()
    result = evaluate("--output", out)
    assert result.exit_code == 2
    assert "dtype was bfloat16, is float32" in result.stderr
    for options, message in {
        ("--dtype", "half"): "unknown dtype 'half': choose one of float32, bfloat16, float16",
        ("--quantize", "int4"): "choose int8",
        ("--quantize", "int8", "--dtype", "float16"): "leave out dtype float16",
    }.items():
        result = evaluate(*options)
        assert result.exit_code == 2
        assert message in result.stderr


# Stopped, and gone on


def test_stopped_after_any_batch_it_goes_on_and_reports_the_same(
    evaluate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from picscribe.evaluation import run

    small = ("--batch-size", 2, "--beams", 2)
    assert evaluate(*small, "--output", tmp_path / "whole").exit_code == 0
    answer_batch = run.answer_batch

    class Killed(Exception):
        pass

    left = 1

    def killed_after_one(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return answer_batch(*arguments)

    monkeypatch.setattr(run, "answer_batch", killed_after_one)
    for done in range(1, 4):
        left = 1
        assert isinstance(evaluate(*small, "--output", tmp_path / "out").exception, Killed)
        assert len(answered(tmp_path / "out")) == 2 * done
        assert not (tmp_path / "out" / "report.json").exists()
    left = 1
    assert evaluate(*small, "--output", tmp_path / "out").exit_code == 0
    assert answered(tmp_path / "out") == [str(1000 + number) for number in range(1, 9)]
    assert report_of(tmp_path / "out") == report_of(tmp_path / "whole")
    for name in ("predictions.json", "items.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    # Once more: all is there, so that nothing is computed.
    left = 0
    assert evaluate(*small, "--output", tmp_path / "out").exit_code == 0
    assert report_of(tmp_path / "out") == report_of(tmp_path / "whole")


@pytest.mark.parametrize(
    "targets",
    [pytest.param((1, 150), id="two"), pytest.param((1, 30, 90, 150, 220), id="five", marks=pytest.mark.slow)],
)
def test_killed_at_random_points_it_reports_the_same(
    targets: tuple[int, ...], tiny_model: Path, photos: Path, tmp_path: Path
) -> None:
    """A real process, SIGKILL, no chance to tidy up."""
    entries = [
        {
            "file_name": f"photo{number % 12 + 1}.png",
            "id": number,
        }
        for number in range(600)
    ]
    captions = [{"id": n, "image_id": n, "caption": f"The dog number {n % 50} runs on grass."} for n in range(600)]
    data = tmp_path / "captions.json"
    data.write_text(json.dumps({"images": entries, "annotations": captions}))
    command = [sys.executable, "-m", "picscribe", "evaluate", str(tiny_model), str(data), "--images", str(photos)]
    command += ["--batch-size", "2", "--output"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    out, draw, kills = tmp_path / "out", random.Random(8), 0
    journal = out / "answers" / "0.jsonl"
    for target in targets:
        with subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= target):
                time.sleep(0.001)
            time.sleep(draw.random() * 0.01)
            kills += process.poll() is None
            process.kill()
        assert not (out / "report.json").exists()
    assert kills == len(targets)
    subprocess.run([*command, str(out)], check=True, capture_output=True)
    assert answered(out) == sorted(str(number) for number in range(600)), "each image once"
    assert report_of(out) == report_of(tmp_path / "whole")
    assert (out / "items.json").read_bytes() == (tmp_path / "whole" / "items.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--beams", "3"], "(generation.beams was 4, is 3)"), (["--batch-size", "5"], "batch_size was 32, is 5")],
)
def test_another_evaluation_in_the_folder_is_refused(
    evaluate: Any, arguments: list[str], words: str, tmp_path: Path
) -> None:
    assert evaluate("--output", tmp_path / "out").exit_code == 0
    before = (tmp_path / "out" / "report.json").read_bytes()
    result = evaluate(*arguments, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert words in result.stderr
    assert (tmp_path / "out" / "report.json").read_bytes() == before


def test_processes_share_the_work(evaluate: Any, data: Path, tmp_path: Path) -> None:
    options = ("--batch-size", 1, "--beams", 2)
    (data / "images" / "photo3.png").write_bytes(b"no image at all")
    assert evaluate(*options, "--output", tmp_path / "one").exit_code == 1
    result = evaluate(*options, "--output", tmp_path / "two", "--num-processes", 2)
    assert result.exit_code == 1
    assert "photo3.png" in result.stderr
    files = sorted((tmp_path / "two" / "answers").glob("*.jsonl"))
    assert [len(file.read_text().splitlines()) for file in files] == [4, 4]
    assert report_of(tmp_path / "two") == report_of(tmp_path / "one")


@pytest.mark.skipif(sys.platform == "win32", reason="signals as Unix has them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_stopped_it_leaves_no_process_behind(
    number: signal.Signals, code: int, tiny_model: Path, photos: Path, tmp_path: Path
) -> None:
    data = tmp_path / "captions.json"
    entries = [{"file_name": "photo1.png", "id": n} for n in range(20_000)]
    data.write_text(
        json.dumps(
            {"images": entries, "annotations": [{"id": n, "image_id": n, "caption": "A dog."} for n in range(20_000)]}
        )
    )
    command = [sys.executable, "-m", "picscribe", "evaluate", str(tiny_model), str(data), "--images", str(photos)]
    command += ["--batch-size", "1", "--num-processes", "2", "--output", str(tmp_path / "out")]
    journals = [tmp_path / "out" / "answers" / f"{rank}.jsonl" for rank in range(2)]
    # Standard error is a pipe that ends only when the last process that holds it has.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not all(file.exists() and file.stat().st_size for file in journals):
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=40)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert said.strip().splitlines() == [f"picscribe: stopped; the same command continues in {tmp_path / 'out'}"]
    assert sum(len(file.read_text().splitlines()) for file in journals) < 20_000


# Questions and classes


@pytest.fixture
def questions(data: Path) -> Path:
    """VQA v2's two files over the photos: three questions a photo, ten answers each."""
    entries = [
        {"question_id": 10 * number + k, "image_id": number, "question": words}
        for number in range(1, 5)
        for k, words in enumerate(["what is it", "what is on the grass of the man", "is the cat red"])
    ]
    answers = [
        {"question_id": entry["question_id"], "answers": [{"answer": "dog"}] * 7 + [{"answer": "the red cat"}] * 3}
        for entry in entries
    ]
    for number in range(1, 5):
        (data / "images" / f"photo{number}.png").rename(data / "images" / f"COCO_val2014_{number:012}.jpg")
    folder = data / "vqa"
    folder.mkdir()
    subtype = {"data_subtype": "val2014"}
    names = ("v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json")
    (folder / names[0]).write_text(json.dumps({**subtype, "questions": entries}))
    (folder / names[1]).write_text(json.dumps({**subtype, "annotations": answers}))
    return folder / names[0]


def test_questions_are_answered_as_asked_one_by_one(
    runner: CliRunner, tiny_model: Path, data: Path, questions: Path, tmp_path: Path
) -> None:
    images = str(data / "images")
    command = ["evaluate", str(tiny_model), str(questions), "--images", images, "--output", str(tmp_path / "out")]
    result = runner.invoke(app, [*command, "--max-words", "3"])
    assert result.exit_code == 0, result.output
    scribe = picscribe.load(tiny_model)
    _, examples = load_examples(questions, data / "images", None)
    alone = {
        example.id: scribe.caption(example.image(), prompt=example.question, max_new_tokens=3).text
        for example in examples
    }
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert written == [{"question_id": int(name), "answer": text} for name, text in alone.items()]
    expected = vqa_accuracy(alone, {example.id: example.texts for example in examples}).value
    assert report_of(tmp_path / "out")["scores"] == {"vqa-accuracy": pytest.approx(expected)}

    scored = runner.invoke(app, ["score-answers", str(tmp_path / "out" / "predictions.json"), str(questions), "--json"])
    assert json.loads(scored.stdout)["scores"] == {"vqa-accuracy": pytest.approx(expected)}


def test_a_question_that_cannot_be_asked_fails_alone(
    runner: CliRunner, tiny_model: Path, data: Path, questions: Path, tmp_path: Path
) -> None:
    questions.write_text(questions.read_text().replace("is the cat red", "is the [SEP] red", 1))
    command = ["evaluate", str(tiny_model), str(questions), "--images", str(data / "images"), "--max-words", "3"]
    result = runner.invoke(app, [*command, "--output", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.stderr.startswith("picscribe: 12: ")
    assert "[SEP]" in result.stderr
    assert list(report_of(tmp_path / "out")["errors"]) == ["12"]


def test_classes_are_scored_by_the_papers_readings(
    runner: CliRunner, tiny_model: Path, photos: Path, tmp_path: Path
) -> None:
    said = picscribe.load(tiny_model).caption(photos / "photo1.png").text
    for name, photo in ((said, "photo1.png"), ("zebra", "photo2.png")):
        (tmp_path / "classes" / name).mkdir(parents=True)
        shutil.copy(photos / photo, tmp_path / "classes" / name)
    command = ["evaluate", str(tiny_model), str(tmp_path / "classes"), "--output", str(tmp_path / "out")]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert report_of(tmp_path / "out")["scores"] == {"top-1": 0.5, "equal": 0.5, "in": 0.5}


# What cannot be done


def test_classes_may_be_the_only_words(runner: CliRunner, tiny_model: Path, photos: Path, tmp_path: Path) -> None:
    """With --labels every answer is a label: the one that `classify` finds likeliest."""
    names = ["red dog", "cat", "the grass"]
    for name, photo in zip(names, ("photo1.png", "photo2.png", "photo3.png"), strict=True):
        (tmp_path / "classes" / name).mkdir(parents=True)
        shutil.copy(photos / photo, tmp_path / "classes" / name)
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(names) + "\n\n")
    command = ["evaluate", str(tiny_model), str(tmp_path / "classes"), "--output", str(tmp_path / "out")]
    result = runner.invoke(app, [*command, "--labels", str(labels), "--batch-size", "2"])
    assert result.exit_code == 0, result.output
    scribe = picscribe.load(tiny_model)
    items = json.loads((tmp_path / "out" / "items.json").read_text())
    assert len(items) == 3
    for item in items:
        photo = tmp_path / "classes" / item["references"][0] / Path(item["image"]).name
        assert item["prediction"] == scribe.classify(photo, names).label
    assert report_of(tmp_path / "out")["generation"]["labels"] == 3
    again = runner.invoke(app, command)
    assert again.exit_code == 2
    assert "another evaluation" in again.output


def test_labels_are_for_classes(evaluate: Any, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\n")
    result = evaluate("--labels", tmp_path / "labels.txt")
    assert result.exit_code == 2
    assert "labels are for classes" in result.output


def test_captions_may_have_to_be_equal(evaluate: Any, tiny_model: Path, data: Path) -> None:
    result = evaluate("--metric", "exact-match", "--beams", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("exact-match")
    dataset = json.loads((data / "dataset.json").read_text())
    said = picscribe.load(tiny_model).caption(data / "images" / "photo1.png", beams=1).text
    dataset["images"][0]["sentences"][0]["raw"] = said.upper()
    (data / "dataset.json").write_text(json.dumps(dataset))
    value = float(evaluate("--metric", "exact-match", "--beams", 1).stdout.split()[1])
    assert value >= 0.125 > float(result.stdout.split()[1])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--split", "train"], 1, "has no images of the split 'train': name another; it has 'test', 'val'"),
        (["--beams", "0"], 2, "--beams"),
        (["--beams", "100"], 2, "the vocabulary has only"),
        (["--length-penalty", "99"], 2, "length_penalty must be a number from -10 to 10"),
        (["--device", "toaster"], 2, "device 'toaster' cannot be used"),
        (["--revision", "v2"], 2, "revision 'v2' works for names on the Hugging Face hub only"),
        (["--metric", "vqa-accuracy"], 2, "'vqa-accuracy' cannot score captions"),
        (["--format", "karpaty"], 2, "karpathy"),
        (["--num-processes", "1000"], 2, "processes must be 1 to 256"),
    ],
)
def test_what_cannot_be_done_is_named(evaluate: Any, arguments: list[str], code: int, words: str) -> None:
    result = evaluate(*arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""


def test_the_split_must_be_named_where_there_are_several(runner: CliRunner, tiny_model: Path, data: Path) -> None:
    result = runner.invoke(app, ["evaluate", str(tiny_model), str(data)])
    assert result.exit_code == 1
    assert "has the splits 'test', 'val': name one" in result.stderr


def test_a_model_that_is_not_there_is_named(evaluate: Any, tmp_path: Path) -> None:
    result = evaluate(model=tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr

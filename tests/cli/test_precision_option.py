"""`--precision` on the command line."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import picscribe
from picscribe.acceleration import precision
from picscribe.cli.main import app

CHOSEN = "computes in float32: bfloat16 takes 1/0.50, int8 takes 1/0.60 of float32's processor time here (measured)"


@pytest.fixture(autouse=True)
def slow_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor whose bfloat16 and int8 take longer than float32, which is not known yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "multiplies_int8", lambda: True)
    monkeypatch.setattr(precision, "times_as_fast", lambda config: {"bfloat16": 0.5, "int8": 0.6})


@pytest.mark.parametrize("name", ["fast", "auto"])
def test_fast_says_on_standard_error_what_was_chosen(
    runner: CliRunner, tiny_model: Path, photos: Path, name: str
) -> None:
    photo = photos / "photo1.png"
    result = runner.invoke(app, ["caption", "--model", str(tiny_model), "--precision", name, str(photo)])
    assert result.exit_code == 0
    assert result.stdout == picscribe.load(str(tiny_model)).caption(photo).text + "\n"
    assert result.stderr.count(CHOSEN) == 1


@pytest.mark.parametrize(
    "command",
    [
        "ask PHOTO what --model MODEL",
        "classify PHOTO --labels LABELS --model MODEL",
        "score PHOTO dog --model MODEL",
        "explain PHOTO -o OUT.json --model MODEL",
        "bulk PHOTO --to OUT.jsonl --model MODEL",
        "evaluate MODEL DATA --split val",
    ],
)
def test_every_command_that_computes_takes_it(
    runner: CliRunner, tiny_model: Path, photos: Path, tmp_path: Path, command: str
) -> None:
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    shutil.copy(photos / "photo1.png", images)
    entry = {"filename": "photo1.png", "cocoid": 1, "split": "val", "sentences": [{"raw": "A dog."}]}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"images": [entry]}))
    (tmp_path / "labels.txt").write_text("dog\ncat\n")
    known = {
        "PHOTO": images / "photo1.png", "MODEL": tiny_model, "OUT": tmp_path / "out", "DATA": tmp_path / "data",
        "LABELS": tmp_path / "labels.txt",
    }  # fmt: skip
    for name, path in known.items():
        command = command.replace(name, str(path))
    result = runner.invoke(app, [*command.split(), "--precision", "fast"])
    assert result.exit_code == 0, result.output
    assert result.stderr.count(CHOSEN.replace("computes", "computed" if "evaluate" in command else "computes")) == 1


def test_a_bulk_job_in_another_precision_is_another_job(
    runner: CliRunner, tiny_model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["bulk", str(photos / "photo1.png"), "--to", str(tmp_path / "out.jsonl"), "--model", str(tiny_model)]
    assert runner.invoke(app, command).exit_code == 0
    assert runner.invoke(app, [*command, "--precision", "fast"]).exit_code == 0, "float32 as before"
    result = runner.invoke(app, [*command, "--dtype", "bfloat16"])
    assert result.exit_code == 2
    assert 'precision was "float32", is "bfloat16"' in result.stderr


@pytest.mark.parametrize("wrong", [["quick"], ["fast", "--dtype", "bfloat16"], ["fast", "--quantize", "int8"]])
def test_what_cannot_be_is_refused(runner: CliRunner, tiny_model: Path, photos: Path, wrong: list[str]) -> None:
    photo = photos / "photo1.png"
    result = runner.invoke(app, ["caption", "--model", str(tiny_model), str(photo), "--precision", *wrong])
    assert result.exit_code != 0 and result.stdout == ""

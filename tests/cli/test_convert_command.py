"""`picscribe convert`: there and back gives the same captions; what is there is not overwritten."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from picscribe import checkpoints
from picscribe.cli.main import app


def test_to_the_original_layout_and_back(runner: CliRunner, tiny_model: Path, tmp_path: Path) -> None:
    original, back = tmp_path / "original", tmp_path / "back"
    there = runner.invoke(app, ["convert", str(tiny_model), str(original), "--to", "original"])
    assert there.exit_code == 0, there.stderr
    assert (original / "model.pt").is_file()
    assert (original / "parameter.yaml").is_file()
    again = runner.invoke(app, ["convert", str(original), str(back), "--to", "hugging-face"])
    assert again.exit_code == 0, again.stderr
    assert str(back) in again.stdout
    before, after = (checkpoints.load(folder).model.state_dict() for folder in (tiny_model, back))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=0)


def test_weights_keep_the_type_they_are_stored_in(runner: CliRunner, tiny_model: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    checkpoints.save(checkpoints.load(tiny_model), half, torch.float16)
    for number, (source, layout) in enumerate([("half", "hugging-face"), ("half", "original"), ("1", "hugging-face")]):
        arguments = ["convert", str(tmp_path / source), str(tmp_path / str(number)), "--to", layout]
        assert runner.invoke(app, arguments).exit_code == 0
        assert checkpoints.describe(tmp_path / str(number)).stored_as == ("float16",)
    for name in ("0", "2"):
        assert (tmp_path / name / "model.safetensors").read_bytes() == (half / "model.safetensors").read_bytes()


def test_a_readme_in_the_destination_stays(runner: CliRunner, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("where this comes from")
    for _ in range(2):
        assert runner.invoke(app, ["convert", str(tiny_model), str(tmp_path), "--to", "hugging-face"]).exit_code == 0
        assert (tmp_path / "README.md").read_text() == "where this comes from"


def test_a_revision_goes_with_a_name_on_the_hub(runner: CliRunner, tiny_model: Path, tmp_path: Path) -> None:
    arguments = ["convert", str(tiny_model), str(tmp_path / "new"), "--to", "original", "--revision", "v2"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert "revision 'v2' works for names on the Hugging Face hub only" in result.stderr


def test_a_folder_of_other_files_is_left_alone(runner: CliRunner, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = runner.invoke(app, ["convert", str(tiny_model), str(tmp_path), "--to", "hugging-face"])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("arguments", [["--to", "onnx"], ["--to", "original", "--quantize", "int8"]])
def test_wrong_usage(runner: CliRunner, tiny_model: Path, tmp_path: Path, arguments: list[str]) -> None:
    result = runner.invoke(app, ["convert", str(tiny_model), str(tmp_path / "new"), *arguments])
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()


def test_a_source_that_is_no_checkpoint(runner: CliRunner, photos: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["convert", str(photos), str(tmp_path / "new"), "--to", "original"])
    assert result.exit_code == 1
    assert result.stderr.startswith("picscribe: ")
    assert not (tmp_path / "new").exists()


def test_int8_is_smaller_and_says_the_same_words(runner: CliRunner, tiny_model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    result = runner.invoke(app, ["convert", str(tiny_model), str(small), "--quantize", "int8"])
    assert result.exit_code == 0, result.output
    assert "int8" in result.stdout
    assert runner.invoke(app, ["info", str(small)]).exit_code == 0
    for layout in ("hugging-face", "original"):
        again = runner.invoke(app, ["convert", str(small), str(tmp_path / "exact"), "--to", layout])
        assert again.exit_code == 1
        assert "small has int8 weights, which cannot be converted back: use the model before its" in again.stderr
        assert not (tmp_path / "exact").exists()

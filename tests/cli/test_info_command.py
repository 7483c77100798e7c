"""`picscribe info`: what a checkpoint is, and every problem of a broken one."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from picscribe.cli.main import app


def test_a_sound_folder(runner: CliRunner, tiny_model: Path) -> None:
    result = runner.invoke(app, ["info", str(tiny_model)])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    fields = {name.strip(): text for name, _, text in (line.partition("  ") for line in result.stdout.splitlines())}
    text = result.stdout
    assert fields["folder"].strip() == str(tiny_model)
    for expected in (
        "CLIP ViT, 1 layers, width 16, 2 heads, patch 16",
        "1 layers, width 16, 2 heads",
        "32×32 px, cut from the centre",
        "stored as float32",
        "19 words",
        "model.safetensors, 0.0",
    ):
        assert expected in text
    # Patches 2 × 2 and the class token.
    assert fields["image tokens"].strip() == "5"


def test_every_problem_of_a_broken_folder_is_told(runner: CliRunner, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_model, folder)
    (folder / "preprocessor_config.json").write_text("{")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["hidden_size"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    result = runner.invoke(app, ["info", str(folder)])
    assert result.exit_code == 1
    problems = result.stderr.splitlines()
    assert all(line.startswith("picscribe: ") for line in problems)
    assert any("preprocessor_config.json" in line for line in problems)
    assert any("[16" in line or "(16" in line for line in problems), "the shape that was found"
    assert "text decoder" in result.stdout, "what is sound is still shown"


def test_a_model_that_is_not_downloaded_is_not_broken(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    result = runner.invoke(app, ["info", "git-large-coco"])
    assert result.exit_code == 0
    assert "CIDEr 138.5 on COCO Karpathy test" in result.stdout
    assert "not on this machine" in result.stderr


@pytest.mark.parametrize("name", ["no-such-model", "examples-of-nothing/here", ""])
def test_an_unknown_name_is_one_line(
    runner: CliRunner, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["info", name])
    assert "Traceback" not in result.output
    assert len(result.stderr.splitlines()) == 1
    assert result.exit_code == 1 or "not on this machine" in result.stderr


def test_a_folder_that_is_no_checkpoint(runner: CliRunner, photos: Path) -> None:
    result = runner.invoke(app, ["info", str(photos)])
    assert result.exit_code == 1
    assert "config.json" in result.stderr
    assert "photo1.png" not in result.stdout

"""`picscribe info`: what a checkpoint is, and every problem of a broken one."""

import json
import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner, Result

import picscribe
from picscribe import checkpoints
from picscribe.acceleration import precision
from picscribe.acceleration.precision import find_fast_precision
from picscribe.checkpoints.int8_weights import save_int8
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


def fields_of(result: Result) -> dict[str, str]:
    return dict(re.split(r"  +", line, maxsplit=1) for line in result.stdout.splitlines())


def test_a_model_that_is_not_downloaded_is_not_broken(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    result = runner.invoke(app, ["info", "git-large-coco"])
    assert result.exit_code == 0
    assert "CIDEr 138.5 on COCO Karpathy test" in result.stdout
    assert "not on this machine" in result.stderr
    fields = fields_of(result)
    assert (fields["parameters"], fields["input"], fields["image tokens"]) == ("394 M", "224×224 px", "257")
    fields = fields_of(runner.invoke(app, ["info", "git-base-vqav2"]))
    assert fields["input"] == "shorter edge 480 px, longer edge at most 640 px"
    fields = fields_of(runner.invoke(app, ["info", "git-base-vatex"]))
    assert (fields["frames"], fields["image tokens"]) == ("at most 6", str(6 * 197))
    assert "at revision v9 is not on" in runner.invoke(app, ["info", "git-base", "--revision", "v9"]).stderr


def test_the_precision_is_what_was_measured(
    runner: CliRunner, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "multiplies_int8", lambda: True)
    measured = []

    def measure(config: object) -> dict[str, float]:
        measured.append(config)
        return {"bfloat16": 1.5, "int8": 2.5}

    monkeypatch.setattr(precision, "times_as_fast", measure)

    def said(model: str | Path) -> str:
        return fields_of(runner.invoke(app, ["info", str(model)]))["precision"]

    assert said(tiny_model).startswith("float32; fast: not measured yet, will compare bfloat16 and int8")
    assert not measured, "info measures nothing"
    scribe = picscribe.load(tiny_model, precision="fast")
    assert len(measured) == 1
    assert said(tiny_model) == f"float32; fast: {find_fast_precision(scribe.config)}"
    assert said(tiny_model).startswith("float32; fast: int8: bfloat16 takes 1/1.50, int8 takes 1/2.50")
    assert said(tiny_model).endswith("(measured before)")
    save_int8(checkpoints.load(tiny_model, quantize="int8"), tmp_path / "small")
    assert said(tmp_path / "small") == "int8: the weights are stored in it"
    monkeypatch.setattr(precision, "candidates", tuple)
    assert said(tiny_model) == "float32; fast: float32: this processor has no bfloat16 or int8 arithmetic"


def test_long_lists_are_cut(runner: CliRunner, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_model, folder)
    tensors = {f"t{number}": torch.zeros(1) for number in range(3000)}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    for number in range(100):
        (folder / f"more{number}").touch()
    result = runner.invoke(app, ["info", str(folder)])
    assert result.exit_code == 1
    problems, files = result.stderr.splitlines(), [x for x in result.stdout.splitlines() if x.startswith("file ")]
    assert len(problems) == len(files) == 21
    assert re.search(r"and \d{4} more problems$", problems[-1])
    assert re.search(r"and \d\d more$", files[-1])


def test_an_input_unlike_the_models_own_is_noted(runner: CliRunner, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_model, folder)
    content = json.loads((folder / "preprocessor_config.json").read_text())
    content |= {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    result = runner.invoke(app, ["info", str(folder)])
    assert result.exit_code == 0
    assert "the model itself is for 32 px" in result.stdout
    assert "the model itself" not in runner.invoke(app, ["info", str(tiny_model)]).stdout


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

"""`picscribe train` on folders of photos and videos."""

import csv
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import picscribe
from picscribe.cli.main import app

pytest.importorskip("accelerate")


def test_a_validation_split_is_used(folder: Path, tmp_path: Path) -> None:
    for split, count in (("train", 8), ("val", 4)):
        (tmp_path / "photos" / split).mkdir(parents=True)
        for number in range(count):
            for ending in ("png", "txt"):
                shutil.copy(folder / "photos" / f"{number:02}.{ending}", tmp_path / "photos" / split)
    chosen = ["--data", str(tmp_path / "photos"), "--from", str(folder / "start"), "--dry-run"]
    result = CliRunner().invoke(app, ["train", *chosen, "--output", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "data: 8 images, 8 an epoch; 4 examples to validate on" in result.output


def test_a_folder_of_photos_is_enough(folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    settings = ["optimisation.steps=2", "optimisation.warmup_steps=1", "optimisation.batch_images=4"]
    chosen = ["--data", str(folder / "photos"), "--from", str(folder / "start"), *settings]
    dry = runner.invoke(app, ["train", *chosen, "--dry-run", "--output", str(tmp_path / "run")])
    assert dry.exit_code == 0, dry.output
    assert "[CLS] «a»" in dry.output
    assert "14 images" in dry.output
    assert "steps: 2" in dry.output
    assert not (tmp_path / "run").exists()
    result = runner.invoke(app, ["train", *chosen, "--output", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "the best checkpoint is in" in result.output
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    assert [float(row["step"]) for row in rows] == [0, 2], "what the start was worth, and what came of it"
    assert (rows[0]["loss"], bool(rows[1]["loss"])) == ("", True)
    assert runner.invoke(app, ["train"]).exit_code == 2
    assert runner.invoke(app, ["train", "recipe.yaml", "--from", "nano"]).exit_code == 2


def test_a_folder_of_videos_is_enough(folder: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(6):
        frames = [Image.new("RGB", (32, 32), (40 * number, 30 * place, 99)) for place in range(8)]
        frames[0].save(clips / f"{number}.mp4", "WEBP", save_all=True, append_images=frames[1:], duration=100)
        (clips / f"{number}.txt").write_text("a red square\n")
    settings = ["optimisation.steps=1", "optimisation.batch_images=2", "--output", str(tmp_path / "run")]
    chosen = ["train", "--data", str(clips), "--from", str(folder / "start"), *settings]
    result = CliRunner().invoke(app, chosen)
    assert result.exit_code == 0, result.output
    assert "4 videos an epoch, 6 frames of each" in result.output
    trained = picscribe.load(tmp_path / "run" / "best").model
    assert trained.config.frames == 6
    assert trained.temporal_embedding is not None
    assert trained.temporal_embedding.any(), "the order of the frames is learned"


def test_what_is_meant_as_a_setting(folder: Path) -> None:
    chosen = ["train", "--data", str(folder / "photos"), "optimisation.steps", "3"]
    result = CliRunner().invoke(app, chosen)
    assert result.exit_code == 2
    assert "'optimisation.steps': a setting has the form section.key=value" in result.output

"""`picscribe data inspect`: what it prints, its exit codes, its JSON and its contact sheet."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from picscribe.cli.main import app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos with captions in train/, one in val/."""
    place = tmp_path / "photos"
    for name, text in (("train/a", "a dog\ntwo dogs run"), ("train/b", "a cat"), ("val/c", "a bird")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(place / f"{name}.png")
        (place / f"{name}.txt").write_text(text)
    return place


def test_a_sound_data_set(folder: Path, runner: CliRunner) -> None:
    result = runner.invoke(app, ["data", "inspect", str(folder)])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{folder}: caption-files, captions of images",
        "  train        2 images, 3 captions",
        "  val          1 images, 1 captions",
        "captions of one: 1 to 2, median 1; words of one: 2 to 3, median 2",
        "distinct captions: 4; most frequent: each is there once",
        "opened 3 of 3: 3 PNG; from 40×30 to 40×30 pixels",
        "odd rows: 0",
    ]


def test_odd_rows_and_photos_that_do_not_open_exit_with_1(folder: Path, runner: CliRunner) -> None:
    (folder / "train" / "b.txt").write_text("")
    (folder / "val" / "c.png").write_bytes(b"no photo")
    result = runner.invoke(app, ["data", "inspect", str(folder)])
    assert result.exit_code == 1
    assert f"  {folder / 'train' / 'b.txt'}: is empty: write at least one line of words" in result.stdout
    assert f"  {folder / 'val' / 'c.txt'}: {folder / 'val' / 'c.png'} cannot be opened" in result.stdout
    few = runner.invoke(app, ["data", "inspect", str(folder), "--rows", "1"])
    assert "and 1 more: --rows 2 shows all" in few.stdout
    assert "c.png" not in few.stdout
    assert runner.invoke(app, ["data", "inspect", str(folder), "--split", "train"]).exit_code == 1


def test_a_photo_that_does_not_open_is_enough_to_exit_with_1(folder: Path, runner: CliRunner) -> None:
    (folder / "val" / "c.png").write_bytes(b"no photo")
    result = runner.invoke(app, ["data", "inspect", str(folder)])
    assert result.exit_code == 1
    assert "odd rows: 1" in result.stdout


def test_one_split_alone(folder: Path, runner: CliRunner) -> None:
    (folder / "train" / "b.txt").write_text("")
    result = runner.invoke(app, ["data", "inspect", str(folder), "--split", "val"])
    assert result.exit_code == 0, result.output
    assert "train" not in result.stdout
    unknown = runner.invoke(app, ["data", "inspect", str(folder), "--split", "tset"])
    assert unknown.exit_code == 1
    assert "no split 'tset'; it has 'train', 'val'" in unknown.stderr


def test_json(folder: Path, runner: CliRunner) -> None:
    (folder / "train" / "b.txt").write_text("")
    result = runner.invoke(app, ["data", "inspect", str(folder), "--json", "--rows", "0"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["format"], found["task"]) == ("caption-files", "captions")
    assert found["splits"]["train"] == {"examples": 1, "sources": 1, "texts": 2, "odd": 1}
    assert found["odd"][0]["where"] == str(folder / "train" / "b.txt")
    assert found["opened"] == {"formats": {"PNG": 2}, "sizes": [[40, 30], [40, 30]], "unopenable": []}


def test_a_contact_sheet(folder: Path, runner: CliRunner, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert runner.invoke(app, ["data", "inspect", str(folder), "--contact-sheet", str(sheet)]).exit_code == 0
    with Image.open(sheet) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("name", ["sheet.jpg", "nowhere/sheet.png"])
def test_a_contact_sheet_that_cannot_be_is_wrong_usage(
    name: str, folder: Path, runner: CliRunner, tmp_path: Path
) -> None:
    result = runner.invoke(app, ["data", "inspect", str(folder), "--contact-sheet", str(tmp_path / name)])
    assert result.exit_code == 2
    assert "--contact-sheet" in result.stderr


def test_a_format_is_taken_by_name_and_nothing_is_guessed(folder: Path, runner: CliRunner, tmp_path: Path) -> None:
    (folder / "train").rename(folder / "dog")
    (folder / "val").rename(folder / "cat")
    assert "caption-files, captions" in runner.invoke(app, ["data", "inspect", str(folder)]).stdout
    labels = runner.invoke(app, ["data", "inspect", str(folder), "--format", "class-folders"])
    assert "class-folders, labels of images" in labels.stdout
    assert runner.invoke(app, ["data", "inspect", str(folder), "--format", "tvs"]).exit_code == 2
    (tmp_path / "empty").mkdir()
    nothing = runner.invoke(app, ["data", "inspect", str(tmp_path / "empty")])
    assert nothing.exit_code == 1
    assert "empty" in nothing.stderr


def test_a_photo_that_is_missing_is_named_once(folder: Path, runner: CliRunner, tmp_path: Path) -> None:
    rows = [{"file_name": name, "text": "a dog"} for name in ("a.png", "gone.png")]
    metadata = folder / "train" / "metadata.jsonl"
    metadata.write_text("\n".join(map(json.dumps, rows)))
    result = runner.invoke(app, ["data", "inspect", str(folder / "train")])
    assert result.stdout.splitlines()[-4:] == [
        "opened 1 of 2: 1 PNG; from 40×30 to 40×30 pixels",
        "odd rows: 1",
        f"  {metadata}: line 2: {folder / 'train' / 'gone.png'} is not there",
        f"images that the metadata does not name, left out: 1, such as {folder / 'train' / 'b.png'}",
    ]
    (folder / "train" / "a.png").unlink()
    nothing = runner.invoke(app, ["data", "inspect", str(folder / "train")])
    assert "none of its images is there: name their folder with --images" in nothing.stdout


def test_a_sample_is_called_one(folder: Path, runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picscribe.cli.data.SAMPLE", 2)
    (folder / "train" / "a.png").write_bytes(b"no photo")
    result = runner.invoke(app, ["data", "inspect", str(folder)])
    assert "opened 2 of 3: 1 PNG, 1 cannot be opened; from 40×30" in result.stdout

"""`picscribe models`: every name, and whether it is on this machine."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from typer.testing import CliRunner

from picscribe.checkpoints import RELEASED
from picscribe.cli.main import app


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache that this process uses instead of the user's."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def add_to_cache(cache: Path, name: str, files: dict[str, bytes]) -> None:
    repository = cache / ("models--" + name.replace("/", "--"))
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for file, content in files.items():
        target = repository / "snapshots" / commit / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def listed(runner: CliRunner) -> dict[str, dict[str, Any]]:
    result = runner.invoke(app, ["models", "--json"])
    assert result.exit_code == 0, result.output
    return {entry["name"]: entry for entry in map(json.loads, result.stdout.splitlines())}


def test_every_released_checkpoint_and_nano_are_listed(runner: CliRunner, cache: Path) -> None:
    entries = listed(runner)
    assert list(entries) == ["nano", *(one.name for one in RELEASED)]
    coco = entries["git-base-coco"]
    assert coco["task"] == "captioning"
    assert coco["image_size"] == 224
    assert coco["score"] == {"metric": "CIDEr", "value": 131.4, "data": "COCO Karpathy test"}
    assert coco["where"] == "Hugging Face hub"
    assert entries["git-base-msrvtt"]["where"] == "original files only"


def test_what_is_cached_is_told_apart(runner: CliRunner, cache: Path) -> None:
    git = json.dumps({"model_type": "git"}).encode()
    add_to_cache(cache, "microsoft/git-base-coco", {"config.json": git, "model.safetensors": b"x"})
    add_to_cache(cache, "microsoft/git-large", {"config.json": git})  # its weights have not come
    add_to_cache(cache, "someone/fine-tuned", {"config.json": git, "model.safetensors": b"x"})
    add_to_cache(cache, "someone/other-kind", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"x"})
    add_to_cache(cache, "someone/broken", {"config.json": b"{", "model.safetensors": b"x"})
    add_to_cache(cache, "someone/nested", {"config.json": b"[" * 200_000, "model.safetensors": b"x"})
    entries = listed(runner)
    assert entries["git-base-coco"]["where"] == "on this machine"
    assert entries["git-large"]["where"] == "Hugging Face hub"
    assert entries["someone/fine-tuned"]["where"] == "on this machine"
    assert not {"someone/other-kind", "someone/broken", "someone/nested", "microsoft/git-base-coco"} & set(entries)


def test_the_table_has_a_row_a_model_and_says_what_json_says(runner: CliRunner, cache: Path) -> None:
    header, *rows = runner.invoke(app, ["models"]).stdout.splitlines()
    assert header.split() == ["NAME", "TASK", "SIZE", "INPUT", "PUBLISHED", "WHERE"]
    assert [row.split()[0] for row in rows] == list(listed(runner))
    vqa = next(row for row in rows if row.startswith("git-base-vqav2"))
    assert "480 px, at most 640" in vqa
    assert "177 M" in vqa
    assert "accuracy 72.72, VQAv2 test-dev" in vqa
    starts = {row.index("Hugging Face hub") for row in rows if "Hugging Face hub" in row}
    assert starts == {header.index("WHERE")}


def test_a_missing_bundled_model_does_not_hide_the_others(
    runner: CliRunner, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("picscribe.checkpoints.resolve.BUNDLED", {"nano": cache / "no such folder"})
    entries = listed(runner)
    assert entries["nano"]["where"] == "missing"
    assert len(entries) == 1 + len(RELEASED)

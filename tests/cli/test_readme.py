"""The README's examples in Python run as they stand there, with a tiny model in place of the named one."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import picscribe

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_metrics_of_the_readme_run(capsys: pytest.CaptureFixture[str]) -> None:
    _, code = python_blocks()
    exec(code, {})
    captions, answers = capsys.readouterr().out.splitlines()
    assert float(captions.split()[0]) > 1
    assert answers == "1.0"


def test_the_python_of_the_readme_runs(
    tiny_model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _ = python_blocks()
    for name in ("photo.jpg", "one.jpg", "two.jpg"):
        shutil.copy(photos / "photo1.png", tmp_path / name)
    # A video is told by what it holds, not by its name.
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "clip.mp4", "WEBP", save_all=True, append_images=frames[1:], duration=10_000)
    (tmp_path / "broken.jpg").write_text("not an image")
    monkeypatch.chdir(tmp_path)
    load = picscribe.load
    monkeypatch.setattr(picscribe, "load", lambda name: load(str(tiny_model)))
    names: dict[str, Any] = {}
    exec(code, names)
    assert isinstance(names["caption"], picscribe.Caption)
    assert len(names["captions"]) == 2
    assert isinstance(names["result"], picscribe.InputError)
    assert names["best"].text != names["second"].text
    assert isinstance(names["network"], torch.nn.Module)

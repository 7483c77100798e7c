"""The Python of the README and of the pages runs as it stands there, with a tiny model in place of the named one."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import picscribe

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = ("tutorials", "serving.md")
"""Tutorials run with nano, in tests/docs; the server's Python starts Ray Serve, which tests/serving does."""
PAGES = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if not set(ELSEWHERE) & set(path.parts)),
]
BLOCKS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, code in enumerate(
        re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL), 1
    )
]


@pytest.fixture
def folder(tiny_model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the blocks run: the files that they name, and `picscribe.load` that loads a tiny model."""
    for name in ("photo.jpg", "one.jpg", "two.jpg", "photos/one.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / "photo1.png", tmp_path / name)
    # A video is told by what it holds, not by its name.
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "clip.mp4", "WEBP", save_all=True, append_images=frames[1:], duration=10_000)
    (tmp_path / "broken.jpg").write_text("not an image")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "items.json").write_text('[{"prediction": "a dog runs"}]')
    monkeypatch.chdir(tmp_path)
    load = picscribe.load
    monkeypatch.setattr(picscribe, "load", lambda name: load(str(tiny_model)))
    return tmp_path


def test_the_readme_shows_python() -> None:
    assert sum("README" in str(block.id) for block in BLOCKS) == 1


@pytest.mark.parametrize("code", BLOCKS)
def test_the_python_of_a_page_runs(code: str, folder: Path) -> None:
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(names) > 1


def test_the_python_of_the_readme_gives_what_it_says(folder: Path) -> None:
    (code,) = [block.values[0] for block in BLOCKS if "README" in str(block.id)]
    names: dict[str, Any] = {}
    exec(str(code), names)
    assert isinstance(names["caption"], picscribe.Caption)
    assert names["label"] in ("dog", "cat", "tea pot")
    assert (folder / "looked.png").stat().st_size > 0


def test_errors_in_the_places_of_results(folder: Path) -> None:
    (code,) = [str(block.values[0]) for block in BLOCKS if "broken.jpg" in str(block.values[0])]
    names: dict[str, Any] = {}
    exec(code, names)
    assert isinstance(names["result"], picscribe.InputError)
    assert names["best"].text != names["second"].text

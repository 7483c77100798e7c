"""The pages of the site: generated ones are complete, and what pages name is there."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "picscribe"


def load(name: str) -> ModuleType:
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"picscribe_docs_{name}", DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generated = load("generated")
docstrings = load("docstrings")


def test_architecture_names_every_floor_and_only_files_that_are_there() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    floors = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    named = {name.strip("`/").removesuffix(".py") for cell in floors for name in cell.split(", ")}
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert named == there - {"__init__", "__main__"}
    way = text.split("## The way of a photo")[1].split("## Where to add")[0]
    for name in re.findall(r"`([\w/]+\.py)`", way):
        assert (PACKAGE / name).is_file(), name


def test_every_command_has_a_section_with_all_its_options() -> None:
    page = generated.commands_page()
    for command in ("caption", "ask", "bulk run", "bulk status", "data inspect", "serve", "train"):
        assert f"## picscribe {command}\n" in page
    section = page.split("## picscribe caption\n")[1].split("\n## ")[0]
    for option in ("--beams N", "--prompt TEXT", "--stream", "--min-confidence X", "--json"):
        assert f"`{option}`" in section


def test_errors_are_found_where_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "errors.py").write_text(
        'class PicscribeError(Exception):\n    """Base."""\n\n\nclass Odd(PicscribeError):\n    """Odd one."""\n'
    )
    (tmp_path / "room.py").write_text(
        'HINT = "turn it"\n'
        "def go(path, left):\n"
        '    if left:\n        return Odd("left")\n'
        '    raise Odd(f"{path}: not " + ("round" if left else "flat") + f"; {HINT}")\n'
        'def no():\n    raise ValueError("not one of ours")\n'
        'def of_class():\n    raise Odd("network", f"no answer from {1 + 1}")\n'
    )
    monkeypatch.setattr(generated, "PACKAGE", tmp_path)
    assert list(generated.error_types()) == [("PicscribeError", "Base."), ("Odd", "Odd one.")]
    texts = [text for _, kind, text in generated.errors() if kind == "Odd"]
    assert texts == ["…: not round; turn it", "…: not flat; turn it", "no answer from …"]
    assert "- …: not flat; turn it" in generated.errors_page()


def test_the_page_of_errors_has_the_error_types_of_the_package() -> None:
    import picscribe.errors

    named = {name for name, _ in generated.error_types()}
    family = {name for name, value in vars(picscribe.errors).items() if isinstance(value, type)}
    assert family <= named
    assert len(generated.errors_page().splitlines()) > 400


def test_docstrings_become_lists_and_literals() -> None:
    lines = [
        "Do it with `a` * b.",
        "",
        "size: how large, a*b.",
        "    And more.",
        "colour, shade: of it.",
        "",
        "Raises X.",
    ]
    made = docstrings.restructured(lines)
    assert made[0] == "Do it with ``a`` \\* b."
    assert "- ``size``: how large, a\\*b." in made
    assert "  And more." in made
    assert "- ``colour``, ``shade``: of it." in made
    assert "Raises X." in made


def test_docstrings_keep_code() -> None:
    made = docstrings.restructured(["Use it:", "", "    import this", "", "Then go."])
    assert made[2:] == ["", "::", "", "    import this", "", "Then go.", ""]

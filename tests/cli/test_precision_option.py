"""`--precision` on the command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import picscribe
from picscribe.acceleration import precision
from picscribe.cli.main import app


def test_fast_says_on_standard_error_what_was_chosen(
    runner: CliRunner, tiny_model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "times_as_fast", lambda config: 0.5)
    photo = photos / "photo1.png"
    result = runner.invoke(app, ["caption", "--model", str(tiny_model), "--precision", "fast", str(photo)])
    assert result.exit_code == 0
    assert result.stdout == picscribe.load(str(tiny_model)).caption(photo).text + "\n"
    assert "computes in float32: bfloat16 takes 1/0.50 of float32's processor time here (measured)" in result.stderr


@pytest.mark.parametrize("wrong", [["quick"], ["fast", "--dtype", "bfloat16"], ["fast", "--quantize", "int8"]])
def test_what_cannot_be_is_refused(runner: CliRunner, tiny_model: Path, photos: Path, wrong: list[str]) -> None:
    photo = photos / "photo1.png"
    result = runner.invoke(app, ["caption", "--model", str(tiny_model), str(photo), "--precision", *wrong])
    assert result.exit_code != 0 and result.stdout == ""

"""The command `picscribe` as a process: exit codes, pipes, Ctrl-C, terminals, and errors without a traceback."""

import json
import os
import platform
import signal
import struct
import subprocess
import sys
import zlib
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from typer.testing import CliRunner

import picscribe
from picscribe.cli.main import ReportingGroup, app
from picscribe.cli.output.terminal import ESCAPE
from picscribe.errors import CheckpointError, ConfigurationError, InputError

COMMAND = [sys.executable, "-c", "from picscribe.cli.main import main; main()"]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and terminals as POSIX has them")


def start(*arguments: object, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", "TERM": "xterm"},
    )


def test_exit_codes_and_streams(tiny_model: Path, photos: Path) -> None:
    good, missing = photos / "photo1.png", photos / "missing.png"
    for arguments, code in (
        ([good], 0),
        ([good, missing], 1),
        ([missing], 1),
        ([], 2),
        ([good, "--beams", "none"], 2),
    ):
        process = start("caption", "--model", tiny_model, *arguments)
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == code, stderr
        assert bool(stdout) == (good in arguments and code < 2)
        assert bool(stderr) == (code > 0)
        assert b"Traceback" not in stderr


def test_version_and_help(runner: CliRunner) -> None:
    first, build, torch = runner.invoke(app, ["--version"]).stdout.splitlines()
    assert first == f"picscribe {picscribe.__version__}"
    assert build.startswith("build: ") and f"Python {platform.python_version()}" in build
    assert torch == f"torch {version('torch')}"
    for arguments in (["--help"], ["-h"]):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0
        for command in ("caption", "models", "info", "convert"):
            assert command in result.stdout


def test_no_command_and_an_unknown_command_are_wrong_usage(runner: CliRunner) -> None:
    assert runner.invoke(app, []).exit_code == 2
    assert runner.invoke(app, ["no-such-command"]).exit_code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("bad photo"), 1),
        (CheckpointError("bad\nmodel"), 1),
        (ConfigurationError("bad option"), 2),
    ],
)
def test_our_errors_are_one_line_and_an_exit_code(runner: CliRunner, error: Exception, code: int) -> None:
    failing = typer.Typer(cls=ReportingGroup, pretty_exceptions_enable=False)

    @failing.command()
    def first() -> None:
        raise error

    @failing.command()
    def second() -> None:
        raise ZeroDivisionError

    result = runner.invoke(failing, ["first"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == f"picscribe: {str(error).replace(chr(10), ' ')}\n"
    assert isinstance(runner.invoke(failing, ["second"]).exception, ZeroDivisionError), (
        "a bug must not look like bad input"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["caption", "--model", "someone/model", "photo.jpg"],
        ["info", "someone/model"],
        ["convert", "someone/model", "new folder", "--to", "original"],
    ],
)
def test_a_revision_reaches_the_hub(
    runner: CliRunner, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def not_there(*_: object, revision: str | None, **options: object) -> str:
        asked.append(revision)
        raise LocalEntryNotFoundError("not there")

    monkeypatch.setattr("huggingface_hub.snapshot_download", not_there)
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, [*arguments, "--revision", "v2"])
    assert set(asked) == {"v2"}
    assert "someone/model at revision v2 is not on this machine" in result.stderr


def shell(line: str, tiny_model: Path, photos: Path) -> subprocess.CompletedProcess[bytes]:
    """Run `line` with the command as $PICSCRIBE: closed and full streams are a shell's to set up."""
    command = f"{sys.executable} -c 'from picscribe.cli.main import main; main()'"
    environment = {"OMP_NUM_THREADS": "1", "MODEL": str(tiny_model), "PHOTO": str(photos / "photo1.png")}
    line = line.replace("PICSCRIBE", command)
    return subprocess.run(["sh", "-c", line], capture_output=True, env={**os.environ, **environment}, timeout=120)


FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has /dev/full")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('PICSCRIBE caption --model "$MODEL" - <&-', b"standard input is closed: give a photo with `< photo.jpg`"),
        ('PICSCRIBE caption --model "$MODEL" "$PHOTO" >&-', b"standard output is closed: "),
        pytest.param(
            'PICSCRIBE caption --model "$MODEL" "$PHOTO" >/dev/full',
            b"standard output cannot be written: No space left on device",
            marks=FULL,
        ),
        *[
            pytest.param(f"PICSCRIBE {asked} >/dev/full", b"output cannot be written: No space left", marks=FULL)
            for asked in ("--help", "caption --help", "data inspect -h")
        ],
        pytest.param("PICSCRIBE --version >/dev/full", b"standard output cannot be written: No space", marks=FULL),
        ("PICSCRIBE --version >&-", b"standard output is closed: "),
    ],
)
def test_closed_and_full_streams_are_one_line(line: str, said: bytes, tiny_model: Path, photos: Path) -> None:
    done = shell(line, tiny_model, photos)
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(b"picscribe: " + said)


def png_of_many_pixels(photo: Path) -> bytes:
    """A PNG whose header claims more pixels than Pillow opens without a warning."""
    content = photo.read_bytes()
    header = b"IHDR" + struct.pack(">II", 9500, 9500) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def test_what_pillow_says_of_a_photo_stays_inside(tiny_model: Path, photos: Path, tmp_path: Path) -> None:
    odd, huge = tmp_path / "odd.jpg", tmp_path / "huge.png"
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"  # five entries promised, and cut off in the first
    Image.open(photos / "photo1.png").save(odd, exif=exif)
    huge.write_bytes(png_of_many_pixels(photos / "photo1.png"))
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(odd).getexif()
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(huge)
    process = start("caption", "--model", tiny_model, odd, huge)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert stdout.startswith(os.fsencode(odd) + b"\t")
    expected = f"picscribe: {huge} is 9500×9500 pixels, over the limit of 89478485: shrink it, or raise the limit\n"
    assert stderr.decode() == expected


def test_a_reader_that_goes_away_is_no_complaint(tiny_model: Path, photos: Path) -> None:
    process = start("caption", "--model", tiny_model, "--batch-size", 1, *[photos] * 10)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith(os.fsencode(photos))
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) in (1, 141)


def test_interrupted_exits_with_130(tiny_model: Path, photos: Path) -> None:
    process = start("caption", "--model", tiny_model, "--batch-size", 1, *[photos] * 200)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in stderr


INTERRUPTED = """
import os, signal, time
from picscribe.cli.main import app, main

class Cleared:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # Ctrl-C comes here

@app.command()
def clear_away():
    Cleared()
    time.sleep(50)

main()
"""


def test_an_interrupt_while_something_is_cleared_away_is_not_lost() -> None:
    """Python reports it as ignored, and would go on for the fifty seconds."""
    ran = subprocess.run([sys.executable, "-c", INTERRUPTED, "clear-away"], capture_output=True, timeout=40)
    assert ran.returncode == 130
    assert b"ignored" not in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_the_end_of_the_program_does_not_search_for_garbage() -> None:
    code = (
        "import atexit, gc; from picscribe.cli.main import main\n"
        "atexit.register(lambda: print(len(gc.get_objects()), gc.get_freeze_count()))\n"  # runs last
        "main()"
    )
    ran = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    searched, frozen = map(int, ran.stdout.splitlines()[-1].split())
    assert searched < 100 < frozen


def read_terminal(terminal: int) -> bytes:
    content = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            return content
        if not chunk:
            return content
        content += chunk


@pytest.mark.parametrize("several", [False, True])
def test_the_bar_shows_on_a_terminal_for_several_photos_only(tiny_model: Path, photos: Path, several: bool) -> None:
    ours, theirs = os.openpty()
    chosen = [photos] if several else [photos / "photo1.png"]
    process = start("caption", "--model", tiny_model, "--batch-size", 5, *chosen, stderr=theirs)
    os.close(theirs)
    shown = read_terminal(ours)
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    assert process.wait(timeout=60) == 0
    assert len(lines) == (12 if several else 1)
    assert all(b"\x1b" not in line for line in lines), "the bar must not leak into standard output"
    assert (b"5/12" in shown) == several
    if not several:
        assert shown == b""


def test_lines_on_a_terminal_stay_whole_beside_the_bar(tiny_model: Path, photos: Path) -> None:
    ours, theirs = os.openpty()
    process = start("caption", "--model", tiny_model, "--batch-size", 5, photos, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = read_terminal(ours)
    assert process.wait(timeout=60) == 0
    for number in range(1, 13):
        assert os.fsencode(photos / f"photo{number}.png") + b"\t" in shown


def test_a_terminal_that_cannot_redraw_gets_no_bar(tiny_model: Path, photos: Path) -> None:
    ours, theirs = os.openpty()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"}
    arguments = ["caption", "--model", str(tiny_model), "--batch-size", "5", str(photos)]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    assert read_terminal(ours) == b""
    assert process.stdout is not None
    assert len(process.stdout.read().splitlines()) == 12
    assert process.wait(timeout=60) == 0


def test_a_locale_of_ascii_alone_is_taken_for_utf_8(tiny_model: Path, tmp_path: Path) -> None:
    """Every command that prints what people wrote; a file's name keeps its own bytes."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "OMP_NUM_THREADS": "1"}

    def run(*arguments: object) -> bytes:
        done = subprocess.run(
            [*COMMAND, *map(os.fsencode, map(str, arguments))],
            capture_output=True,
            env={**os.environ, **ascii_only},
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        return done.stdout

    data = tmp_path / "data"
    data.mkdir()
    named = data / "\u00e9.png"
    Image.new("RGB", (40, 30), (200, 40, 30)).save(named)
    (data / "\u00e9.txt").write_text("\u4e00 \u00e9t\u00e9", encoding="utf-8")
    shown = run("data", "inspect", data)
    assert "40×30".encode() in shown
    assert "×".encode() in run("info", tiny_model)
    assert run("caption", "--model", tiny_model, named, named).startswith(os.fsencode(named) + b"\t")
    assert "B − A".encode() in run("compare", "--help")
    for number in (1, 2):
        content = [{"image_id": 1, "caption": "a\u00e9" * number}, {"image_id": 2, "caption": "b"}]
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    references = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in (1, 2)],
        "annotations": [{"id": k, "image_id": k, "caption": "\u4e00 b"} for k in (1, 2)],
    }
    (tmp_path / "references.json").write_text(json.dumps(references))
    compared = run("compare", tmp_path / "1.json", tmp_path / "2.json", "--references", tmp_path / "references.json")
    assert "B − A".encode() in compared


def test_what_a_locale_lacks_is_written_as_its_number_and_bytes_of_names_as_they_are() -> None:
    assert "\u2212 \u00e9 \udcff\U0001f600".encode("latin-1", ESCAPE) == b"\\u2212 \xe9 \xff\\U0001f600"
    assert "\u00e9\udcc3".encode("utf-8", ESCAPE) == b"\xc3\xa9\xc3"

"""The command `picscribe` as a process: exit codes, pipes, Ctrl-C, terminals, and errors without a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import picscribe
from picscribe.cli.main import ReportingGroup, app
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
    assert runner.invoke(app, ["--version"]).stdout == f"picscribe {picscribe.__version__}\n"
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


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        process = start("--help")
        process.communicate(timeout=60)
        seconds.append(time.perf_counter() - began)
        assert process.returncode == 0
    # 0.1 to 0.2 s on an idle machine; the limit leaves room for a busy one, and none for importing torch.
    assert min(seconds) < 0.8


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

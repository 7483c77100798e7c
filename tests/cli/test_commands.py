"""The table of commands says what the commands say, and a command is imported only when it is called."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import picscribe.cli
from picscribe.cli.commands import COMMANDS
from picscribe.cli.main import app

NO_COMMANDS = {"main", "commands"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_has_the_first_sentence_of_each_command(name: str) -> None:
    top: Any = get_command(app)
    first = re.split(r"(?<=\.)\s", " ".join(top.commands[name].built.help.split()))[0]
    assert COMMANDS[name] == first


def test_the_table_has_every_command() -> None:
    files = {file.stem for file in Path(picscribe.cli.__path__[0]).glob("[!_]*.py")} - NO_COMMANDS
    assert {name.replace("-", "_") for name in COMMANDS} == files


def commands_imported(*arguments: str, **environment: str) -> tuple[set[str], str]:
    """The files of commands that a run of the command line imports, and what it writes to standard output."""
    code = (
        "import atexit, json, sys; from picscribe.cli.main import main\n"
        "modules = lambda: [name.rpartition('.')[2] for name in sys.modules if name.startswith('picscribe.cli.')]\n"
        "atexit.register(lambda: print(json.dumps(modules()), file=sys.stderr))\n"
        "sys.argv[0] = 'picscribe'; main()"
    )
    command = [sys.executable, "-c", code, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | environment)
    files = {name.replace("-", "_") for name in COMMANDS}
    return set(json.loads(ran.stderr.splitlines()[-1])) & files, ran.stdout


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["no-such-command"], set()),
        (["score-captions", "--help"], {"score_captions"}),
        (["data", "inspect", "--help"], {"data"}),
    ],
)
def test_only_the_command_that_is_called_is_imported(arguments: list[str], imported: set[str]) -> None:
    assert commands_imported(*arguments)[0] == imported


@pytest.mark.parametrize(
    ("words", "completed", "imported"),
    [
        ("c", {"caption", "classify", "convert", "compare", "curate"}, set()),
        ("caption --batch", {"--batch-size"}, {"caption"}),
        ("bulk ", {"run", "status", "apply"}, {"bulk"}),
        ("data inspect --contact", {"--contact-sheet"}, {"data"}),
    ],
)
def test_the_shell_completes_commands_and_their_options(words: str, completed: set[str], imported: set[str]) -> None:
    line = f"picscribe {words}"
    asked = {"_PICSCRIBE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    found, written = commands_imported(**asked)
    assert (set(written.split()), found) == (completed, imported)


def test_a_misspelled_command_is_answered_with_the_right_one(runner: CliRunner) -> None:
    ran = runner.invoke(app, ["score_captions"])
    assert ran.exit_code == 2
    assert "No such command 'score_captions'. Did you mean 'score-captions'" in ran.stderr
    assert "Did you mean 'inspect'?" in runner.invoke(app, ["data", "inpsect"]).stderr

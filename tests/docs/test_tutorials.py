"""The tutorials run: each block in its turn, in a folder with the example photos; what they print is what they show.

PICSCRIBE_RENEW=1 writes what is printed into the pages instead of comparing, for when `nano` has learned more.
"""

import contextlib
import importlib.util
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"^(<!-- not run: [^\n]*-->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = {
    "fine-tune": ["accelerate", "peft", "filelock"],
    "serve": ["fastapi", "uvicorn", "multipart", "prometheus_client"],
}
"""Packages of the extras that a tutorial tells to install."""


def run(language: str, code: str, folder: Path) -> str:
    """What a block prints to standard output; a process that it leaves running writes elsewhere."""
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    with (folder / "printed").open("w+") as printed, (folder / "complaints").open("w+") as complaints:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=complaints,
            check=False, timeout=300,
        )  # fmt: skip
        printed.seek(0)
        complaints.seek(0)
        assert done.returncode == 0, f"{code}\n{complaints.read()}"
        return printed.read()


def free_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


def same(printed: str, shown: str) -> bool:
    """Whether two texts are the same word for word, and numbers within a twentieth, as processors round otherwise."""
    words, expected = re.split(r"(\s+)", printed.strip()), re.split(r"(\s+)", shown.strip())
    return len(words) == len(expected) and all(map(same_word, words, expected))


def same_word(word: str, expected: str) -> bool:
    if word == expected:
        return True
    try:
        return math.isclose(float(word), float(expected), rel_tol=0.05, abs_tol=0.002)
    except ValueError:
        return False


def test_numbers_may_differ_a_little_and_words_not_at_all() -> None:
    assert same("0.1649\ta man\n", "0.1651\ta man")
    assert not same("0.16\ta man", "0.36\ta man")
    assert not same("a man", "a dog")
    assert not same("a man", "a man stands")


@pytest.mark.skipif(sys.platform == "win32", reason="the tutorials are typed into a POSIX shell")
@pytest.mark.parametrize("name", [path.stem for path in sorted(TUTORIALS.glob("*.md")) if path.stem != "index"])
def test_a_tutorial_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    for package in NEEDS.get(name, []):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the tutorial needs {package}")
    page = TUTORIALS / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    if "curl" in text and shutil.which("curl") is None:
        pytest.skip("the tutorial needs curl")
    shutil.copytree(ROOT / "examples", tmp_path / "photos", ignore=shutil.ignore_patterns("*.md"))
    port = free_port()
    ran, renewed, printed = 0, text, ""
    try:
        for skipped, language, code in BLOCK.findall(text):
            if language == "text":
                if os.environ.get("PICSCRIBE_RENEW"):
                    renewed = renewed.replace(f"```text\n{code}```", f"```text\n{printed.rstrip()}\n```", 1)
                else:
                    assert same(printed, code), f"{page.name} shows\n{code}and it is\n{printed}"
            elif not skipped:
                printed = run(language, code.replace("8765", port), tmp_path)
                ran += 1
    finally:
        if (server := tmp_path / "serve.pid").exists():  # a block after the one that started it has failed
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(server.read_text()), signal.SIGTERM)
    assert ran >= 2
    if renewed != text:
        page.write_text(renewed, encoding="utf-8")

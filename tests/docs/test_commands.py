"""The commands of the README, the pages and the help texts run as they stand there, on small inputs.

Each block runs line by line in a new folder that holds the files it names. Models of the hub are a tiny model in the
hub's cache. What cannot run here is listed with the reason, and still checked for its options. The tutorials have a
test of their own, which compares what they print too.
"""

import argparse
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from picscribe import checkpoints
from picscribe.cli.main import app
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import Git

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")),
    ROOT / "picscribe" / "bundled" / "nano" / "README.md",
    *(
        path
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if not {"tutorials", "generated"} & set(path.relative_to(ROOT).parts)
    ),
]
NOT_RUN = {
    r"python3 -m venv |\.venv/bin/|source ": "sets up an environment, which CI does with the README's commands",
    r"pip install |apt-get install ": "needs a package index",
    r"curl ": "needs the server; the tutorial about serving runs it",
    r"picscribe serve(?!.*--new-key)": "runs until it is stopped; the tutorial about serving runs it",
    r"PICSCRIBE_SERVER=": "needs the server; tests/serving runs such commands with one",
    r"picscribe .*--server": "needs the server; tests/bulk runs such jobs with one",
    r"picscribe bulk apply ": "needs texts that a person edited; tests/bulk runs it",
    r"picscribe .*--ray": "needs a cluster; tests/bulk runs Ray on this machine",
    r"picscribe .*--device cuda": "needs a GPU",
    r"torchrun ": "needs COCO; tests/training runs several processes",
    r"picscribe --(install|show)-completion": "changes or asks for the user's shell",
    r"picscribe train (recipes/nano|third|fourth)": "trains for an hour",
    r"sed ": "makes a recipe of another; tests/test_nano.py holds what it makes",
    r"picscribe evaluate nano runs/proofs/": "needs the data that a proof made",
    r"picscribe (evaluate|curate) .*--num-processes [2-9]": "starts many processes; tests/ of each runs two",
    r"picscribe curate .*--language de": "needs the extra `curate`, and a minute; tests/curation runs it",
    r"(OMP_NUM_THREADS=1 )?python -m (benchmarks|proofs|research)\.": "measures or trains for minutes to hours",
}
"""What cannot run here, as patterns of whole commands, and why."""


def commands_of(text: str) -> list[str]:
    """The commands of a shell block: comments removed, continued lines joined, one for each part of `a && b`."""
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=False, punctuation_chars="&")
        words.whitespace_split = True
        command = ""
        for word in words:
            if word == "&&":
                commands.append(command.strip())
                command = ""
            else:
                command += f" {word}"
        if command.strip():
            commands.append(command.strip())
    return commands


def blocks() -> list[Any]:
    """The commands of every block of the documents, of the README's table, and of each example of the help texts."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        shown = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        bare = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        shown += [
            block.replace("\n    ", "\n")
            for block in re.findall(r"^    ((?:picscribe|python -m) .*\n(?:    .*\n)*)", bare, re.MULTILINE)
        ]
        if document.name == "README.md" and document.parent == ROOT:
            shown += re.findall(r"^\| .* \| `(picscribe .*)` \|$", text, re.MULTILINE)
        place = document.relative_to(ROOT).as_posix()
        found += [block_of(commands_of(block), f"{place}-{number}") for number, block in enumerate(shown, 1)]
    for name, command in walk(get_command(app), "picscribe"):
        found.append(block_of(commands_of(command.epilog.partition("Examples:\n")[2]), f"{name} --help"))
    return found


def block_of(commands: list[str], name: str) -> Any:
    trains = any(" train " in command and reason_not_to_run(command) is None for command in commands)
    return pytest.param(commands, id=name, marks=[pytest.mark.slow] if trains else [])


def reason_not_to_run(command: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, command)), None)


def walk(command: Any, name: str) -> list[tuple[str, Any]]:
    """Every command below `command`, with the words that call it."""
    command = getattr(command, "built", command)
    below = [pair for word, one in getattr(command, "commands", {}).items() for pair in walk(one, f"{name} {word}")]
    return below or [(name, command)]


# The files that commands name


def save_photo(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(number).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    Image.fromarray(colours).resize((120, 90)).save(path)


def save_captioned(folder: Path, captions: int = 1) -> None:
    """Eight photos, and captions of them in metadata.jsonl."""
    rows = []
    for number in range(8):
        save_photo(folder / f"photo{number}.jpg", number)
        rows.append({"file_name": f"photo{number}.jpg", "text": [f"a dog runs on grass {number}"] * captions})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def save_karpathy(folder: Path, name: str) -> None:
    """Eight photos, and captions of them in Karpathy's format."""
    images = []
    for number, split in enumerate(["train", "train", "val", "val", "val", "test", "test", "test"]):
        save_photo(folder / "images" / f"{number}.jpg", number)
        sentences = [{"raw": text} for text in ("A dog runs.", f"A brown dog runs on grass {number}.")]
        images.append({"filename": f"{number}.jpg", "split": split, "imgid": number, "sentences": sentences})
    (folder / f"dataset_{name}.json").write_text(json.dumps({"dataset": name, "images": images}))


def save_vqa(folder: Path) -> None:
    """Questions and answers of VQA v2 under their official names, a results file, and the same of COCO's captions."""
    stem = "v2_OpenEnded_mscoco_val2014_questions.json"
    questions = [{"image_id": 1, "question": "is it red?", "question_id": number} for number in (1, 2)]
    (folder / stem).write_text(json.dumps({"data_subtype": "val2014", "questions": questions}))
    answers = [{"answer": "yes", "answer_confidence": "yes", "answer_id": number} for number in range(1, 11)]
    annotations = [
        {"question_id": number, "image_id": 1, "answers": answers, "multiple_choice_answer": "yes"}
        | {"question_type": "is", "answer_type": "yes/no"}
        for number in (1, 2)
    ]
    (folder / "v2_mscoco_val2014_annotations.json").write_text(
        json.dumps({"data_subtype": "val2014", "annotations": annotations})
    )
    (folder / "answers.json").write_text(json.dumps([{"question_id": number, "answer": "yes"} for number in (1, 2)]))
    coco = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in (1, 2)],
        "annotations": [
            {"id": 2 * number + which, "image_id": number, "caption": f"a dog {verb}"}
            for number in (1, 2)
            for which, verb in enumerate(("runs", "sits"))
        ],
    }
    (folder / "captions_val2014.json").write_text(json.dumps(coco))
    captions = [{"image_id": number, "caption": "a dog runs"} for number in (1, 2)]
    (folder / "results.json").write_text(json.dumps(captions))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with every file that a command of the documents names."""
    folder = tmp_path_factory.mktemp("prepared")
    for number, name in enumerate(
        ("photo.jpg", "one.jpg", "two.jpg", "uploads/a.jpg", "images/a.png", "examples/camera.jpg")
    ):
        save_photo(folder / name, number)
    for part in ("photos/part-1", "photos/part-2", "home/Pictures", "train", "frames"):
        for number in range(2):
            save_photo(folder / part / f"photo{number}.jpg", number)
    (folder / "train" / "photo0.txt").write_text("1girl, outdoors")
    save_captioned(folder / "photos")
    save_captioned(folder / "pairs", captions=2)
    save_karpathy(folder / "flickr8k", "flickr8k")
    save_karpathy(folder / "wide", "wide")
    save_vqa(folder)
    (folder / "names.txt").write_text("dog\ncat\ntea pot\n")
    (folder / "questions.jsonl").write_text('{"image": "one.jpg", "question": "what is this?", "id": 1}\n')
    (folder / "pairs.jsonl").write_text('{"image": "one.jpg", "text": "a dog runs"}\n')
    # A video is told by what it holds, not by its name.
    frames = [Image.new("RGB", (64, 64), (number * 20, 90, 200 - number * 15)) for number in range(12)]
    frames[0].save(folder / "clip.mp4", "WEBP", save_all=True, append_images=frames[1:], duration=10_000)
    (folder / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(folder / "shards" / f"0000{shard}.tar", "w") as tar:
            tar.add(folder / "one.jpg", f"a{shard}.jpg")
            tar.add(folder / "two.jpg", f"b{shard}.jpg")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    runner = CliRunner()
    for name in ("run", "other-run"):
        options = ["--split", "val", "--beams", "1", "--output", str(folder / name)]
        done = runner.invoke(app, ["evaluate", "nano", str(folder / "flickr8k"), *options])
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="session")
def hub(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the hub that has a tiny model under each released name; those for videos take six frames."""
    cache = tmp_path_factory.mktemp("hub")
    for released in checkpoints.registry.RELEASED:
        if released.hub_id:
            repository = cache / f"models--{released.hub_id.replace('/', '--')}"
            snapshot = repository / "snapshots" / ("0" * 40)
            save_tiny(tiny_model, snapshot, frames=6 if released.frames else 0)
            (repository / "refs").mkdir()
            (repository / "refs" / "main").write_text("0" * 40)
    return cache


def save_tiny(tiny_model: Path, folder: Path, frames: int) -> None:
    tiny = checkpoints.load(str(tiny_model))
    model = tiny.model
    if frames:
        model = Git(type(model.config)(model.config.image_encoder, model.config.text_decoder, frames=frames)).eval()
    checkpoints.save(checkpoints.Checkpoint(model, tiny.tokenizer, Preprocessing(size=32), folder.name, folder), folder)


@pytest.fixture
def here(prepared: Path, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the prepared files as the current folder, the user's home in it, and the hub's cache."""
    folder = tmp_path / "here"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "home" / ".cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


# Run, or check


def run(command: str) -> None:
    """Run a `picscribe` command in this process, its output redirected where `>` says so."""
    words = [os.path.expanduser(word) for word in shlex.split(command)]
    if words[0] == "cp":
        subprocess.run(words, check=True)
        return
    assert words[0] == "picscribe", f"{command}: list it in NOT_RUN with the reason"
    target = None
    if ">" in words:
        place = words.index(">")
        words, target = words[:place], words[place + 1]
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, f"{command}\n{done.output}\n{done.exception!r}"
    assert done.output.strip() or any(word in words for word in ("-o", "--output", "--to"))
    if target is not None:
        Path(target).write_text(done.stdout)
        assert done.stdout.strip()


class Parsed(Exception):
    """A module's parser has read its arguments."""


def check(command: str) -> None:
    """Check the options of a command that is not run."""
    words = shlex.split(re.sub(r"^[A-Z_]+=\S+ |^torchrun --nproc-per-node \d ", "", command))
    if words[:2] == ["-m", "picscribe"]:
        assert (ROOT / words[3]).is_file()
        words = words[1:]
    if words[0] == "picscribe" and words[1] not in ("--install-completion", "--show-completion"):
        check_options(words)
    elif words[:2] == ["pip", "install"] and words[2].startswith("picscribe["):
        extras = words[2].removeprefix("picscribe[").removesuffix("]").split(",")
        assert set(extras) <= set(metadata("picscribe").get_all("Provides-Extra") or [])
    elif words[:2] == ["python", "-m"]:
        check_module(words[2], words[3:])


def check_options(words: list[str]) -> None:
    group: Any = get_command(app)
    context = group.make_context("picscribe", words[1:])
    while hasattr(group, "commands"):
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
        group = context.command


def check_module(name: str, arguments: list[str]) -> None:
    assert importlib.util.find_spec(name) is not None
    source = Path(str(importlib.util.find_spec(name).origin)).read_text(encoding="utf-8")  # type: ignore[union-attr]
    assert "__main__" in source
    if "ArgumentParser" not in source:
        assert arguments == [] or all(word in source for word in arguments)
        return
    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser: Any, *given: Any) -> None:
        parse(parser, *given)
        raise Parsed

    with (
        mock.patch("argparse.ArgumentParser.parse_args", parse_only),
        mock.patch.object(sys, "argv", [name, *arguments]),
        pytest.raises(Parsed),
    ):
        importlib.import_module(name).main()


@pytest.mark.parametrize("commands", blocks())
def test_the_commands_of_a_block_run(commands: list[str], request: pytest.FixtureRequest) -> None:
    assert commands
    reasons = [reason_not_to_run(command) for command in commands]
    if not all(reasons):
        here: Path = request.getfixturevalue("here")
        if any("--output run/" in command for command in commands):
            shutil.rmtree(here / "run")
    for command, reason in zip(commands, reasons, strict=True):
        if reason is None:
            if "--to inside" in command and shutil.which("exiftool") is None:
                pytest.skip("needs ExifTool")
            run(command)
        else:
            check(command)


def test_every_reason_is_needed() -> None:
    shown = [command for block in blocks() for command in block.values[0]]
    unused = [pattern for pattern in NOT_RUN if not any(re.match(pattern, command) for command in shown)]
    assert unused == []


def test_options_that_are_not_known_are_found() -> None:
    with pytest.raises(Exception, match="no-such-option"):
        check("picscribe serve --no-such-option")
    with pytest.raises(SystemExit):
        check("python -m benchmarks.startup --no-such-option")


def test_blocks_are_read_as_a_shell_reads_them() -> None:
    block = 'picscribe ask photo.jpg "what? # now" && cd x  # a comment\npip install \\\n    this\n'
    assert commands_of(block) == ['picscribe ask photo.jpg "what? # now"', "cd x", "pip install this"]

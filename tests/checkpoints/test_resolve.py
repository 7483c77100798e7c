"""Names to folders, with the real huggingface_hub: from its cache without a network, and each of its errors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors

from picscribe.checkpoints import describe
from picscribe.checkpoints import resolve as resolve_module
from picscribe.checkpoints.resolve import find_cached, known_names, resolve
from picscribe.errors import CheckpointError, ConfigurationError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached_hub(tiny_folder: Path, tmp_path: Path) -> Path:
    """An HF_HOME whose cache holds `tiny_folder` as microsoft/git-base-coco, as the hub's client lays it out."""
    repository = tmp_path / "hf" / "hub" / "models--microsoft--git-base-coco"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for file in tiny_folder.iterdir():
        shutil.copy(file, repository / "blobs" / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    return tmp_path / "hf"


def run_offline(code: str, home: Path) -> str:
    """The hub's client reads its environment when it is imported, so each of these runs in a Python of its own."""
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        environment.pop(name, None)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_cached_snapshot_loads_offline(cached_hub: Path) -> None:
    code = (
        "from picscribe.checkpoints import load\n"
        "from picscribe.checkpoints.resolve import find_cached\n"
        "short, full = load('git-base-coco'), load('microsoft/git-base-coco', revision='main')\n"
        f"commit = load('git-base-coco', revision='{COMMIT}')\n"
        "assert short.folder == full.folder == commit.folder == find_cached('git-base-coco')\n"
        "assert find_cached('git-base') is None\n"
        "print(short.name, full.name, short.folder.name, short.model.config.text_decoder.width)"
    )
    assert run_offline(code, cached_hub) == f"git-base-coco microsoft/git-base-coco {COMMIT} 32"


def test_released_names_keep_aspects_as_the_original_code_does_and_folders_do_as_they_say(cached_hub: Path) -> None:
    coco = cached_hub / "hub" / "models--microsoft--git-base-coco"
    for name in ("git-base-vqav2", "git-large-textvqa"):
        shutil.copytree(coco, coco.with_name(f"models--microsoft--{name}"), symlinks=True)
    code = (
        "from picscribe.checkpoints import describe, load\n"
        "for name in ('git-base-vqav2', 'microsoft/git-large-textvqa', 'git-base-coco'):\n"
        "    loaded = load(name)\n"
        "    how, stored = loaded.preprocessing, load(loaded.folder).preprocessing\n"
        "    assert describe(name).preprocessing == how and describe(loaded.folder).preprocessing == stored\n"
        "    print(how.size, how.mode, how.longer_edge, stored.size, stored.mode, how.mean == stored.mean)"
    )
    assert run_offline(code, cached_hub).splitlines() == [
        "480 keep_aspect 640 32 center_crop True",
        "420 keep_aspect 560 32 center_crop True",
        "32 center_crop None 32 center_crop True",
    ]


def test_what_is_not_cached_offline_is_one_clear_error(cached_hub: Path) -> None:
    snapshot = cached_hub / "hub" / "models--microsoft--git-base-coco" / "snapshots" / COMMIT
    code = (
        "from picscribe.checkpoints import load\n"
        "from picscribe.errors import CheckpointError\n"
        "for name, revision in (('git-base', None), ('git-base-coco', 'v9'), ('git-base-coco', None)):\n"
        "    try: load(name, revision=revision)\n"
        "    except CheckpointError as error: print(error)\n"
    )
    (snapshot / "model.safetensors").unlink()
    first, second, third = run_offline(code, cached_hub).splitlines()
    assert first.startswith("microsoft/git-base is not on this machine, and HF_HUB_OFFLINE forbids")
    assert second.startswith("microsoft/git-base-coco at revision v9 is not on this machine")
    assert third.startswith("microsoft/git-base-coco: its copy on this machine has no complete weights")


def response(status: int) -> Any:
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (hub_errors.GatedRepoError("", response=response(403)), "set HF_TOKEN"),
        (hub_errors.RepositoryNotFoundError("", response=response(404)), "shows no model microsoft/git-base"),
        (hub_errors.RevisionNotFoundError("", response=response(404)), "no revision 'v9'"),
        (hub_errors.LocalEntryNotFoundError("no network"), "cannot be reached: check the network"),
        (hub_errors.HFValidationError("bad"), "is not a valid name on the Hugging Face hub"),
        (
            hub_errors.HfHubHTTPError("500 server", response=response(500)),
            "could not be downloaded: the Hugging Face hub answers 500",
        ),
        (ConnectionError("reset"), "could not be downloaded: reset"),
        (OSError(28, "No space left on device"), "No space left"),
        (Exception("timed out"), "could not be downloaded: timed out"),
    ],
)
def test_errors_of_the_hub(error: Exception, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(CheckpointError, match=named):
        resolve("git-base", revision="v9")


def test_a_cached_part_is_used_where_it_holds_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer clients refuse a snapshot that lacks any file asked for; what is needed is seen when it is loaded."""

    def fail(*arguments: object, **options: object) -> str:
        error = hub_errors.LocalEntryNotFoundError("incomplete")
        error.snapshot_path = str(tmp_path)  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match="has no complete weights"):
        resolve("git-base")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"has no config\.json: download it while you are online"):
        resolve("git-base")
    (tmp_path / "config.json").touch()
    assert resolve("git-base") == tmp_path


def test_pickles_are_fetched_only_where_there_are_no_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def snapshot(name: str, allow_patterns: list[str], **options: object) -> str:
        assert (name, options["revision"]) == ("someone/tuned-git", "v2")
        asked.append(allow_patterns)
        (tmp_path / "config.json").touch()
        if "pytorch_model.bin" in allow_patterns:
            (tmp_path / "pytorch_model.bin").touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert resolve("someone/tuned-git", revision="v2") == tmp_path
    assert ["pytorch_model.bin" in patterns for patterns in asked] == [False, True]
    (tmp_path / "model.safetensors").touch()
    assert resolve("someone/tuned-git", revision="v2") == tmp_path
    assert len(asked) == 3
    assert all("vocab.txt" in patterns and "config.json" in patterns for patterns in asked)


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("git-bse-coco", "did you mean git-base-coco?"),
        ("GIT-LARGE", "did you mean git-large?"),
        ("nanoo", "did you mean nano?"),
        ("GIT_LARGE_COCO", "`git-large-coco` is the same model"),
        ("GIT_BASE_MSRVTT", r"give the folder with its model\.pt$"),
        ("git-base-msrvtt", "give the folder"),
        ("./runs/last", "no checkpoint './runs/last'"),
        ("runs/lst", "no checkpoint 'runs/lst'"),
        ("something entirely different", "It is neither a folder here, nor a known name"),
        ("", "no checkpoint ''"),
        ("~nosuchuser/model", "no checkpoint '~nosuchuser/model'"),
        ("x" * 5000, "no checkpoint 'x{200}'"),
        ("a\0b", "no checkpoint"),
    ],
)
def test_unknown_names(name: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_network(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "last-but-one").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=named):
        resolve(name)


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_network(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "model").mkdir(parents=True)
    assert resolve("owner/model") == Path("owner/model")
    assert resolve(tmp_path) == tmp_path
    (tmp_path / "file.pt").touch()
    with pytest.raises(CheckpointError, match=r"file\.pt is a file"):
        resolve("file.pt")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        resolve(tmp_path / "absent")


def test_a_revision_is_one_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_network(monkeypatch)
    for name in (tmp_path, str(tmp_path)):
        for find in (resolve, describe):
            with pytest.raises(ConfigurationError, match="revision 'v2' works for names on the Hugging Face hub only"):
                find(name, revision="v2")


def test_the_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_network(monkeypatch)
    monkeypatch.setitem(resolve_module.BUNDLED, "nano", tmp_path)
    assert resolve("nano") == find_cached("nano") == tmp_path
    monkeypatch.setitem(resolve_module.BUNDLED, "nano", tmp_path / "absent")
    with pytest.raises(CheckpointError, match="missing from this installation"):
        resolve("nano")
    assert "nano" in known_names() and "git-large-r-textcaps" in known_names()


def test_the_registry_needs_no_torch() -> None:
    code = (
        "import sys\nfrom picscribe.checkpoints import RELEASED\nimport picscribe.checkpoints.resolve\n"
        "print(len(RELEASED), 'torch' in sys.modules)"
    )
    assert run_offline(code, Path("nowhere")) == "19 False"

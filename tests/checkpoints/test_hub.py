"""By name from the hub, with the real huggingface_hub client against a stand-in for the hub on this machine."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
assert _spec is not None and _spec.loader is not None
hub_server = importlib.util.module_from_spec(_spec)
sys.modules["hub_server"] = hub_server
_spec.loader.exec_module(hub_server)

# Each case is [token or null, name, revision or null]; what comes out is the names in the folder, or the error.
RESOLVE = """
import json, os, sys
from picscribe.checkpoints.resolve import resolve
from picscribe.errors import CheckpointError
answers = []
for token, name, revision in json.loads(sys.argv[1]):
    os.environ.pop("HF_TOKEN", None)
    if token: os.environ["HF_TOKEN"] = token
    try: answers.append(sorted(file.name for file in resolve(name, revision=revision).iterdir()))
    except CheckpointError as error: answers.append(str(error))
print(json.dumps(answers))
"""
LOAD = """
import sys, torch
from picscribe.checkpoints import load, describe
for name in sys.argv[1:]:
    name, _, revision = name.partition("@")
    loaded, found = load(name, revision=revision or None), describe(name, revision=revision or None)
    assert not found.problems, found.problems
    total = sum(float(tensor.double().sum()) for tensor in loaded.model.state_dict().values())
    print(name, round(total, 4), loaded.preprocessing.mean[0], found.notes)
"""


@pytest.fixture
def hub(tiny_folder: Path) -> Iterator[Any]:
    names = ("microsoft/git-base-coco", "someone/gated", "someone/private")
    hub = hub_server.Hub({name: {"main": tiny_folder} for name in names})
    hub.tokens, hub.expired = {"good"}, {"old"}
    hub.private, hub.gated = {"someone/private"}, {"someone/gated"}
    with hub_server.serve(hub):
        yield hub


def run(hub: Any, home: Path, code: str, *arguments: str, **environment: str) -> str:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
    known |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, env=known | environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def resolve_all(hub: Any, home: Path, *cases: tuple[str | None, str, str | None], **environment: str) -> list[Any]:
    return list(json.loads(run(hub, home, RESOLVE, json.dumps(cases), **environment).splitlines()[-1]))


def test_every_form_of_weights_is_downloaded_and_there_offline_afterwards(
    hub: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    """Safetensors, a pickle alone, shards, what transformers 5 writes, and another revision."""
    weights = safetensors.torch.load_file(tiny_folder / "model.safetensors")
    forms = {name: tmp_path / "forms" / name for name in ("pickle", "sharded", "five", "second")}
    for folder in forms.values():
        shutil.copytree(tiny_folder, folder)
        (folder / "training_args.bin").write_bytes(b"x" * 1000)
        (folder / "model.safetensors").unlink()
    torch.save(weights, forms["pickle"] / "pytorch_model.bin")
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for shard, part in shards.items():
        safetensors.torch.save_file({name: weights[name] for name in part}, forms["sharded"] / shard)
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (forms["sharded"] / "model.safetensors.index.json").write_text(json.dumps(index))
    safetensors.torch.save_file(weights, forms["five"] / "model.safetensors")
    torch.save(weights, forms["five"] / "pytorch_model.bin")
    preprocessor = json.loads((forms["five"] / "preprocessor_config.json").read_text())
    (forms["five"] / "processor_config.json").write_text(json.dumps({"image_processor": preprocessor}))
    for name in ("preprocessor_config.json", "vocab.txt"):
        (forms["five"] / name).unlink()
    second = {name: tensor * 2 for name, tensor in weights.items()}
    safetensors.torch.save_file(second, forms["second"] / "model.safetensors")
    for name in ("pickle", "sharded", "five"):
        hub.repositories[f"someone/{name}"] = {"main": forms[name]}
    hub.repositories["microsoft/git-base-coco"]["second"] = forms["second"]
    known = ["git-base-coco", "someone/pickle", "someone/sharded", "someone/five"]
    wanted = [*known, "git-base-coco@second", f"git-base-coco@{hub_server.SHA.format(1)}"]
    online = run(hub, tmp_path / "hf", LOAD, *wanted).splitlines()
    sums = [line.split()[1] for line in online]
    assert sums[0] == sums[1] == sums[2] == sums[3] != sums[4] == sums[5]
    assert "training_args.bin" not in hub.downloads()
    assert hub.downloads().count("pytorch_model.bin") == 1, "where there are safetensors, pickles are not fetched"
    assert "processor_config.json" in hub.downloads()
    hub.requests.clear()
    assert run(hub, tmp_path / "hf", LOAD, *wanted, HF_HUB_OFFLINE="1").splitlines() == online
    assert hub.requests == []
    hub.broken_status = 503
    assert run(hub, tmp_path / "hf", LOAD, "someone/sharded").splitlines() == [online[2]]


def test_what_the_hub_refuses_is_said_with_its_remedy(hub: Any, tmp_path: Path) -> None:
    name = "microsoft/git-base-coco"
    answers = resolve_all(
        hub,
        tmp_path / "hf",
        ("bad", "git-base-coco", None),
        ("old", name, None),
        ("old", "someone/gated", None),
        ("old", "someone/private", None),
        (None, "someone/gated", None),
        ("good", "someone/gated", None),
        (None, "someone/private", None),
        ("good", "someone/none", None),
        ("good", "microsoft/git-bse-coco", None),
        (None, name, "v9"),
        ("good", "someone/private", None),
    )
    for answer in answers[:4]:
        assert answer.startswith("the Hugging Face hub refuses your access token (")
        assert "create a new token in the hub's settings and set HF_TOKEN to it; or, for public" in answer
        assert "did you mean" not in answer
    assert "is expired)" in answers[1]
    assert "terms that you must accept: accept them on its page, then set HF_TOKEN" in answers[4]
    assert "terms that you must accept: accept them on its page, then wait for its owner" in answers[5]
    assert (
        answers[6]
        == "the Hugging Face hub shows no model someone/private: If it is private, set HF_TOKEN to your access token"
    )
    assert (
        answers[7]
        == "the Hugging Face hub shows no model someone/none: If it is private, your access token may not read it"
    )
    assert "did you mean microsoft/git-base-coco?" in answers[8]
    assert answers[9] == f"{name} has no revision 'v9': name a branch, tag or commit of it"
    assert "model.safetensors" in answers[10]


@pytest.mark.parametrize(
    ("status", "named"),
    [
        (503, "the Hugging Face hub answers 503 (it is down); it may be down: try again later"),
        (403, "the Hugging Face hub answers 403 (it is down); your access token may not read it"),
        (429, "too many requests come from here"),
    ],
)
def test_a_hub_that_answers_otherwise(status: int, named: str, hub: Any, tmp_path: Path) -> None:
    hub.broken_status = status
    [answer] = resolve_all(hub, tmp_path / "hf", (None, "git-base-coco", None))
    assert named in answer and "cannot be reached" not in answer


def test_an_unreachable_hub(hub: Any, tmp_path: Path) -> None:
    hub.endpoint = "http://127.0.0.1:9"
    [answer] = resolve_all(hub, tmp_path / "hf", (None, "git-base-coco", None))
    assert answer.startswith(
        "microsoft/git-base-coco is not on this machine, and the Hugging Face hub cannot be reached"
    )


def test_an_interrupted_download_resumes(hub: Any, tiny_folder: Path, tmp_path: Path) -> None:
    """The client writes 10 MB at a time, so the file is larger; it breaks off once, then for good, then not at all."""
    folder = tmp_path / "large"
    shutil.copytree(tiny_folder, folder)
    content = bytes(range(256)) * (25 << 12)
    (folder / "model.safetensors").write_bytes(content)
    hub.repositories["someone/large"] = {"main": folder}
    case = (None, "someone/large", None)
    hub.cuts = [11 << 20, *[0] * 20]
    [answer] = resolve_all(hub, tmp_path / "hf", case)
    assert answer.startswith("someone/large could not be downloaded") and answer.endswith(
        "the files downloaded so far are kept"
    )
    [offline] = resolve_all(hub, tmp_path / "hf", case, HF_HUB_OFFLINE="1")
    assert (
        offline.startswith("someone/large: its copy on this machine has no complete weights")
        and "while you are online" in offline
    )
    ranges = [wanted for method, path, wanted in hub.requests if method == "GET" and path.endswith("model.safetensors")]
    assert ranges[0] == "" and set(ranges[1:]) == {"bytes=10485760-"}
    hub.cuts = []
    [names] = resolve_all(hub, tmp_path / "hf", case)
    assert "model.safetensors" in names
    [found] = (tmp_path / "hf").rglob("snapshots/*/model.safetensors")
    assert found.read_bytes() == content


def test_an_incomplete_set_of_shards_is_not_a_checkpoint(hub: Any, tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    shutil.copytree(tiny_folder, folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})
    )
    hub.repositories["someone/half"] = {"main": folder}
    [answer] = resolve_all(hub, tmp_path / "hf", (None, "someone/half", None))
    assert answer.startswith("someone/half: the repository has no complete weights")


def test_a_released_video_checkpoint_by_name(hub: Any, tiny_folder: Path, tmp_path: Path) -> None:
    file = tiny_folder / "preprocessor_config.json"
    content = json.loads(file.read_text())
    defaults = {"image_processor_type": "VideoMAEImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    file.write_text(json.dumps(content | defaults))
    hub.repositories |= {name: {"main": tiny_folder} for name in ("microsoft/git-base-vatex", "someone/video")}
    released, other = run(hub, tmp_path / "hf", LOAD, "git-base-vatex", "someone/video").splitlines()
    assert " 0.48145466 (\"normalised by CLIP's mean and standard deviation, as in training; the files say" in released
    assert other.endswith(" 0.5 ()")

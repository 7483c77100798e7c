"""What `describe` says of whole and of broken folders."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from picscribe.checkpoints import Checkpoint, describe, save
from picscribe.checkpoints import description as description_module
from picscribe.errors import CheckpointError

MakeCheckpoint = Callable[..., Checkpoint]


@pytest.mark.parametrize(("changes", "tokens"), [({}, 17), ({"tied": True}, 17), ({"frames": 3}, 51), ({"lite": 0}, 4)])
def test_a_whole_folder(
    changes: dict[str, object], tokens: int, make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(**changes)
    save(checkpoint, tmp_path / "tiny", dtype=torch.float16)
    found = describe(tmp_path / "tiny")
    assert found.problems == ()
    assert found.config == checkpoint.model.config
    assert found.preprocessing == checkpoint.preprocessing
    assert found.parameters == sum(parameter.numel() for parameter in checkpoint.model.parameters())
    assert found.image_tokens == tokens
    assert found.vocabulary_size == checkpoint.tokenizer.vocabulary_size
    assert found.stored_as == ("float16",)
    assert dict(found.files)["model.safetensors"] == (tmp_path / "tiny" / "model.safetensors").stat().st_size


def test_an_original_folder(original_folder: Path) -> None:
    found = describe(str(original_folder))
    assert (found.layout, found.problems, found.image_tokens) == ("original", (), 17)
    for name in ("tokenizer.json", "vocab.txt"):
        (original_folder / name).unlink()
    found = describe(original_folder)
    assert len(found.problems) == 1 and "vocab.txt" in found.problems[0]
    assert found.config is not None


def test_every_problem_of_every_file_is_found_at_once(tiny_folder: Path) -> None:
    tensors = {
        name: tensor.clone() for name, tensor in safetensors.torch.load_file(tiny_folder / "model.safetensors").items()
    }
    del tensors["output.bias"]
    tensors["surprise"] = torch.zeros(2)
    safetensors.torch.save_file(tensors, tiny_folder / "model.safetensors")
    preprocessor = json.loads((tiny_folder / "preprocessor_config.json").read_text())
    del preprocessor["size"], preprocessor["image_mean"]
    (tiny_folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    (tiny_folder / "tokenizer.json").write_text("{")
    problems = describe(tiny_folder).problems
    text = "\n".join(problems)
    for named in ("output.bias", "surprise", "key size is missing", "key image_mean is missing", "tokenizer.json"):
        assert named in text


def test_what_is_not_downloaded_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description_module, "find_cached", lambda name, revision: None)
    found = describe("git-large-vqav2")
    assert found.folder is None and found.released is not None
    assert found.released.score is not None and found.released.score.value == 75.51
    assert "not on this machine" in found.problems[0]


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        describe(str(tmp_path / "absent"))


def test_the_type_that_all_weights_are_stored_in(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        save(make_checkpoint(), tmp_path / "tiny", dtype=dtype)
        assert describe(tmp_path / "tiny").stored_dtype == dtype
    file = tmp_path / "tiny" / "model.safetensors"
    tensors = {name: tensor.half() for name, tensor in safetensors.torch.load_file(file).items()}
    tensors["git.embeddings.position_ids"] = torch.arange(40)[None]
    safetensors.torch.save_file(tensors, file)
    assert describe(tmp_path / "tiny").stored_dtype == torch.float16
    tensors["output.bias"] = tensors["output.bias"].float()
    safetensors.torch.save_file(tensors, file)
    assert describe(tmp_path / "tiny").stored_dtype == torch.float32


def test_an_original_model_is_resized_for_its_input(original_folder: Path) -> None:
    parameters = (original_folder / "parameter.yaml").read_text().replace("test_crop_size: 32", "test_crop_size: 56")
    (original_folder / "parameter.yaml").write_text(parameters)
    found = describe(original_folder)
    assert found.preprocessing is not None and found.preprocessing.size == 56
    assert found.unlike_model_size is None

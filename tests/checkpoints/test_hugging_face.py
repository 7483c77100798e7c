"""Folders in Hugging Face's layout: there and back, bit for bit, in every form of their files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from picscribe.checkpoints import Checkpoint, load, save
from picscribe.checkpoints.preprocessor_config import read_preprocessing
from picscribe.errors import CheckpointError, ConfigurationError
from picscribe.media.preprocessing import Preprocessing

MakeCheckpoint = Callable[..., Checkpoint]


def assert_equal_weights(one: Checkpoint, other: Checkpoint) -> None:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize(
    "changes",
    [{}, {"frames": 3}, {"frames": 1}, {"tied": True}, {"lite": 0}, {"lite": 0, "tied": True}],
)
def test_what_is_saved_is_loaded(changes: dict[str, object], make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    saved = make_checkpoint(**changes)
    save(saved, tmp_path / "one")
    loaded = load(tmp_path / "one")
    assert_equal_weights(saved, loaded)
    assert loaded.model.config == saved.model.config
    assert loaded.preprocessing == saved.preprocessing
    assert loaded.tokenizer.vocabulary == saved.tokenizer.vocabulary
    assert not loaded.model.training
    tied = loaded.model.text_decoder.output.weight is loaded.model.text_decoder.word_embedding.weight
    assert tied == changes.get("tied", False)
    save(loaded, tmp_path / "two")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("changes", [{"variant": 7}, {"variant": [2, 1]}, {"variants": [2, 1]}, {"features": 864}])
def test_other_image_encoders_are_refused(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Two encoders in parallel, or narrower ones, as early versions could train them."""
    save(make_checkpoint(lite=0), tmp_path / "one")
    file = tmp_path / "one" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    assert config["image_encoder"] == {"type": "efficientnet_lite", "variant": 0, "image_size": 64}
    config["image_encoder"].update(changes)
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=rf"image_encoder\.{next(iter(changes))}"):
        load(tmp_path / "one")


def test_half_precision_on_disk_is_float32_in_memory(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    saved = make_checkpoint(lite=0)
    save(saved, tmp_path / "half", dtype=torch.float16)
    save(saved, tmp_path / "whole")
    half, whole = (tmp_path / name / "model.safetensors" for name in ("half", "whole"))
    assert half.stat().st_size < 0.52 * whole.stat().st_size
    loaded = load(tmp_path / "half")
    for name, tensor in loaded.model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, saved.model.state_dict()[name].half().float())
    with pytest.raises(CheckpointError, match="int8"):
        save(saved, tmp_path / "int", dtype=torch.int8)


def test_weights_are_mapped_not_copied(tiny_folder: Path) -> None:
    """A float32 tensor of its own in the file lies at the same distance from its neighbours as there."""
    model = load(tiny_folder).model
    up, down = model.text_decoder.layers[0].up.weight, model.text_decoder.layers[0].mlp_norm.weight
    header = (tiny_folder / "model.safetensors").read_bytes()
    offsets = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    layer = "git.encoder.layer.0"
    expected = (
        offsets[f"{layer}.intermediate.dense.weight"]["data_offsets"][0]
        - offsets[f"{layer}.output.LayerNorm.weight"]["data_offsets"][0]
    )
    assert up.data_ptr() - down.data_ptr() == expected


def test_loaded_weights_can_be_trained_without_changing_the_file(tiny_folder: Path) -> None:
    before = (tiny_folder / "model.safetensors").read_bytes()
    model = load(tiny_folder).model
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.requires_grad
            parameter.add_(1)
    assert (tiny_folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("form", ["pickle", "old pickle", "sharded safetensors", "sharded pickle"])
def test_every_form_of_weights_loads(form: str, tiny_folder: Path) -> None:
    expected = load(tiny_folder)
    tensors = {
        name: tensor.clone() for name, tensor in safetensors.torch.load_file(tiny_folder / "model.safetensors").items()
    }
    (tiny_folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = [{name: tensors[name] for name in part} for part in (names[: len(names) // 2], names[len(names) // 2 :])]
    if form in ("pickle", "old pickle"):
        torch.save(tensors, tiny_folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "pickle")
    else:
        suffix = "safetensors" if form == "sharded safetensors" else "bin"
        stem = "model" if suffix == "safetensors" else "pytorch_model"
        shards = [f"{stem}-0000{number}-of-00002.{suffix}" for number in (1, 2)]
        for shard, half in zip(shards, halves, strict=True):
            if suffix == "safetensors":
                safetensors.torch.save_file(half, tiny_folder / shard)
            else:
                torch.save(half, tiny_folder / shard)
        weight_map = {name: shard for shard, half in zip(shards, halves, strict=True) for name in half}
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (tiny_folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    assert_equal_weights(load(tiny_folder), expected)


def test_position_ids_of_old_files_are_let_pass_and_the_old_spelling_of_frames(
    make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    saved = make_checkpoint(frames=2)
    save(saved, tmp_path / "old")
    file = tmp_path / "old" / "model.safetensors"
    stored = safetensors.torch.load_file(file)
    tensors = {name: tensor.clone() for name, tensor in stored.items() if "img_temporal" not in name}
    tensors["git.embeddings.position_ids"] = torch.arange(40)[None]
    tensors["git.image_encoder.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    assert "git.img_temperal_embedding.1" in tensors
    safetensors.torch.save_file(tensors, file)
    assert_equal_weights(load(tmp_path / "old"), saved)
    tensors["git.img_temporal_embedding.1"] = tensors["git.img_temperal_embedding.1"] + 1
    safetensors.torch.save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"two different tensors for git\.img_temporal_embedding\.1"):
        load(tmp_path / "old")


def test_embedding_eps_of_the_original_survives(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:

    saved = make_checkpoint()
    config = saved.model.config
    changed = replace(config, text_decoder=replace(config.text_decoder, embedding_norm_eps=1e-8))
    saved.model.config = changed
    saved.model.text_decoder.config = changed.text_decoder
    save(saved, tmp_path / "eps")
    loaded = load(tmp_path / "eps").model
    assert loaded.config.text_decoder.embedding_norm_eps == loaded.text_decoder.embedding_norm.eps == 1e-8
    assert loaded.config.text_decoder.norm_eps == loaded.text_decoder.layers[0].mlp_norm.eps == 1e-12


CLIP = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}
COLOURS = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"size": 224, "crop_size": 224, "do_center_crop": True, "resample": 3}, Preprocessing(224, **COLOURS)),
        ({"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}, Preprocessing(64, **COLOURS)),
        ({"size": {"height": 64, "width": 64}, "do_center_crop": False}, Preprocessing(64, "square", **COLOURS)),
        ({"size": {"height": 64, "width": 64}, "crop_size": 64}, Preprocessing(64, "square", **COLOURS)),
        (
            {"size": {"shortest_edge": 64}, "crop_size": 64, "picscribe_longer_edge": 96},
            Preprocessing(64, "keep_aspect", 96, **COLOURS),
        ),
        (
            {
                "size": {"shortest_edge": 64},
                "crop_size": 64,
                "image_processor_type": "VideoMAEImageProcessor",
                "resample": 2,
            },
            Preprocessing(64, **COLOURS),
        ),
    ],
)
def test_forms_of_preprocessor_files(content: dict[str, object], expected: Preprocessing, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content | CLIP))
    assert read_preprocessing(tmp_path) == expected


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"crop_size": 64}, "size is missing"),
        ({"size": {"shortest_edge": 96}, "crop_size": 64}, "crop_size must be the same as size"),
        ({"size": {"shortest_edge": 64}, "do_center_crop": False}, "do_center_crop"),
        ({"size": {"height": 64, "width": 32}, "do_center_crop": False}, "square"),
        ({"size": "large", "crop_size": 64}, "size must be"),
        ({"size": 64, "crop_size": 64, "resample": 2}, "resample"),
        ({"size": 64, "crop_size": 64, "do_normalize": False}, "do_normalize"),
        ({"size": 64, "crop_size": 64, "rescale_factor": 1.0}, "rescale_factor"),
        ({"size": 64, "crop_size": 64, "rescale_factor": 10**400}, "rescale_factor must be a number from 0"),
        ({"size": 5000, "crop_size": 5000}, "size must be a whole number from 1 to 4096"),
        (
            {"size": {"shortest_edge": 5000}, "crop_size": 64},
            r"size\.shortest_edge must be a whole number from 1 to 4096",
        ),
        ({"size": {"height": 5000, "width": 5000}, "do_center_crop": False}, r"size\.width must be .* to 4096"),
        ({"size": 64, "crop_size": 64, "picscribe_longer_edge": 5000}, "picscribe_longer_edge must be .* to 4096"),
        ({"size": 64, "crop_size": 64, "image_mean": [0.5, 0.5]}, "image_mean"),
        ({"size": 64, "crop_size": 64, "image_std": [0, 0, 0]}, "std"),
    ],
)
def test_preprocessor_files_that_cannot_be_followed(content: dict[str, object], named: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CLIP | content))
    with pytest.raises(CheckpointError, match=named):
        read_preprocessing(tmp_path)


def test_kept_aspect_survives(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    preprocessing = Preprocessing(32, "keep_aspect", 48)
    save(make_checkpoint(preprocessing=preprocessing), tmp_path / "vqa")
    assert load(tmp_path / "vqa").preprocessing == preprocessing


@pytest.mark.parametrize(
    "device", ["nonsense", "meta", "hpu", "privateuseone", "mkldnn", "mps:7", "cuda:-1", "cuda:999"]
)
def test_a_device_to_compute_nothing_on_is_refused_before_weights_are_read(device: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"device '{device}'"):
        load(tmp_path / "nowhere", device=device)


def test_a_device_whose_memory_does_not_hold_the_model(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("out of memory\nand much more")

    monkeypatch.setattr(torch.nn.Module, "to", fail)
    with pytest.raises(ConfigurationError, match=r"device 'cpu' cannot be used \(out of memory\)$"):
        load(tiny_folder)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_device_that_is_there(device: str | torch.device, tiny_folder: Path) -> None:
    assert next(load(tiny_folder, device=device).model.parameters()).device == torch.device("cpu")

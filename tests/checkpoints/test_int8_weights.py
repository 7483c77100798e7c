"""Quantised checkpoints: saved and loaded, in little memory, and every way in which a folder can be wrong."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from picscribe.acceleration.int8 import quantize
from picscribe.checkpoints import Checkpoint, describe, load, save, save_int8, save_original
from picscribe.checkpoints.int8_weights import holds_int8, load_int8
from picscribe.errors import CheckpointError, ConfigurationError

MakeCheckpoint = Callable[..., Checkpoint]


@pytest.fixture
def folder(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> Path:
    checkpoint = make_checkpoint()
    quantize(checkpoint.model)
    save_int8(checkpoint, tmp_path / "small")
    return tmp_path / "small"


@pytest.mark.parametrize("kind", [{}, {"tied": True}, {"lite": 0}, {"frames": 3}])
def test_saved_and_loaded_is_the_same(make_checkpoint: MakeCheckpoint, tmp_path: Path, kind: dict[str, bool]) -> None:
    checkpoint = make_checkpoint(**kind)
    save(checkpoint, tmp_path / "exact")
    quantised = load(tmp_path / "exact", quantize="int8")
    assert quantised.is_int8 and not checkpoint.is_int8
    save_int8(quantised, tmp_path / "small")
    assert holds_int8(tmp_path / "small") and not holds_int8(tmp_path / "exact")
    loaded = load(tmp_path / "small")
    before, after = quantised.model.state_dict(), loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    size = checkpoint.model.config.image_encoder.image_size
    frames = (3,) if "frames" in kind else ()
    pixels, tokens = torch.randn(2, *frames, 3, size, size), torch.randint(0, 30, (2, 1, 4))
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(pixels, tokens), quantised.model(pixels, tokens))
    description = describe(tmp_path / "small")
    assert description.problems == () and description.parameters == describe(tmp_path / "exact").parameters


def test_it_says_what_it_cannot_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="leave out dtype bfloat16"):
        load(folder, dtype="bfloat16")
    with pytest.raises(ConfigurationError, match="int4"):
        load(folder, quantize="int4")
    for write in (save, save_original):
        with pytest.raises(CheckpointError, match="cannot be converted back"):
            write(load(folder), tmp_path / "exact")


def test_transformers_refuses_it(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        transformers.GitForCausalLM.from_pretrained(folder)


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    file = folder / "int8.safetensors"
    held = safetensors.torch.load_file(file)
    for name, tensor in tensors.items():
        if tensor is None:
            held.pop(name)
        else:
            held[name] = tensor
    safetensors.torch.save_file(held, file)


SCALE, WEIGHT = "text_decoder.layers.0.up.scale", "text_decoder.layers.0.up.weight"


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({SCALE: None}, f"missing tensor {SCALE}"),
        ({"more": torch.zeros(2)}, "unexpected tensor more"),
        ({SCALE: torch.ones(3)}, rf"{SCALE} is torch.float32 of shape \(3,\), expected torch.float32 of \(64,\)"),
        ({WEIGHT: torch.zeros(64, 32)}, f"{WEIGHT} is torch.float32 .*expected torch.int8"),
        ({SCALE: torch.full((64,), torch.nan)}, f"{SCALE} has values that are not finite"),
    ],
)
def test_wrong_tensors_are_named(folder: Path, tensors: dict[str, torch.Tensor | None], says: str) -> None:
    change(folder, **tensors)
    with pytest.raises(CheckpointError, match=says):
        load(folder)


def test_another_quantisation_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"bitsandbytes.*which picscribe cannot read"):
        load(folder)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "int8.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no weights"):
        load(folder)


def test_a_damaged_file_is_named(folder: Path) -> None:
    file = folder / "int8.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"int8\.safetensors"):
        load_int8(folder, "small")


PEAK = """
import sys
from pathlib import Path
from picscribe.acceleration.accelerated import Accelerated
from picscribe.checkpoints import load

def of(field):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(field)) * 1024

load(sys.argv[1])
import gc; gc.collect()
Path("/proc/self/clear_refs").write_text("5")
before = of("VmRSS")
checkpoint = load(sys.argv[2])
Accelerated(checkpoint.model).accelerate()
print(of("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_loads_in_less_memory_than_the_exact_one_takes(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    from dataclasses import replace

    from picscribe.model import ClipVitConfig, Git, GitConfig

    tiny = make_checkpoint()
    save_int8(replace(tiny, model=copy_quantised(tiny)), tmp_path / "tiny")
    encoder = ClipVitConfig(width=768, layers=4, heads=12, mlp_width=3072, patch_size=8, image_size=32)
    model = Git(GitConfig(encoder, tiny.model.config.text_decoder)).eval()
    exact = sum(parameter.nbytes for parameter in model.parameters())
    save_int8(replace(tiny, model=quantize(model)), tmp_path / "small")
    assert (tmp_path / "small" / "int8.safetensors").stat().st_size < 0.3 * exact
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "tiny"), str(tmp_path / "small")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) < 0.8 * exact


def copy_quantised(checkpoint: Checkpoint) -> torch.nn.Module:
    import copy

    return quantize(copy.deepcopy(checkpoint.model))

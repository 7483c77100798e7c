"""Loading takes no more memory than the weights do once they are used, whatever they are stored in."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from picscribe.checkpoints import Checkpoint, load, save, save_original
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig

# A fork a case: each begins with what PyTorch takes, and with nothing that an earlier one left behind.
MEASURE = """
import json, os, sys
from pathlib import Path
import torch
from picscribe import checkpoints

def bytes_of(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))

def measure(folder, dtype):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = bytes_of("VmRSS")
    checkpoint = checkpoints.load(Path(folder), dtype=dtype)
    loaded = bytes_of("VmHWM") - before
    for tensor in checkpoint.model.state_dict().values():
        tensor.aminmax()
    size = sum(parameter.nbytes for parameter in checkpoint.model.parameters())
    return loaded / size, (bytes_of("VmHWM") - before) / size

torch.set_num_threads(1)
for folder, dtype in json.loads(sys.argv[2]):
    if os.fork() == 0:
        measure(sys.argv[1], dtype)  # brings in the code that loading runs
        print(json.dumps(measure(folder, dtype)), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture
def folders(tiny_folder: Path, tmp_path: Path) -> dict[str, Path]:
    """A checkpoint of 90 MB in every form that weights come in."""
    config = GitConfig(
        ClipVitConfig(width=512, layers=5, heads=8, mlp_width=2048, patch_size=16, image_size=32),
        TextDecoderConfig(
            vocabulary_size=load(tiny_folder).tokenizer.vocabulary_size, width=512, layers=2, heads=8, mlp_width=2048,
            max_positions=40, cls_id=2, sep_id=3,
        ),
    )  # fmt: skip
    tiny = load(tiny_folder)
    large = replace(tiny, model=Git(config).eval(), preprocessing=replace(tiny.preprocessing, size=32))
    forms = ("float32", "float16", "original", "pickle", "old pickle", "sharded")
    paths = {form: tmp_path / form for form in forms}
    for form, path in paths.items():
        _save_as(large, form, path)
    return {"tiny": tiny_folder, **paths}


def _save_as(checkpoint: Checkpoint, form: str, folder: Path) -> None:
    if form == "original":
        return save_original(checkpoint, folder)
    save(checkpoint, folder, torch.float16 if form == "float16" else torch.float32)
    weights = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    if form in ("pickle", "old pickle"):
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "pickle")
        weights.unlink()
    elif form == "sharded":
        names = {f"model-{part}.safetensors": sorted(tensors)[part::2] for part in (0, 1)}
        for shard, of_shard in names.items():
            safetensors.torch.save_file({name: tensors[name] for name in of_shard}, folder / shard)
        weight_map = {name: shard for shard, of_shard in names.items() for name in of_shard}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        weights.unlink()
    return None


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read off /proc")
def test_loading_peaks_at_what_the_weights_take(folders: dict[str, Path]) -> None:
    """Shares of the weights' own size, while loading and once all are used; those of a mapped file come when used."""
    cases = [
        *(("float32", dtype) for dtype in ("float32", "bfloat16", "float16")),
        *((form, "float32") for form in ("float16", "original", "pickle", "old pickle", "sharded")),
    ]
    asked = json.dumps([[str(folders[form]), dtype] for form, dtype in cases])
    command = [sys.executable, "-c", MEASURE, str(folders["tiny"]), asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shares = dict(zip(cases, map(json.loads, done.stdout.splitlines()), strict=True))
    for case, (loading, used) in shares.items():
        assert 0.95 < used <= 1.15, (case, shares)
        if case in [(form, "float32") for form in ("float32", "original", "pickle", "sharded")]:
            assert loading < 0.45, (case, shares)

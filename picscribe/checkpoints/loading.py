"""Load any checkpoint: by name or folder, in whichever layout it is."""

import os
import re
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.acceleration.compilation import compile_model
from picscribe.acceleration.int8 import quantize as quantize_network
from picscribe.checkpoints import model_config
from picscribe.checkpoints.checkpoint import Checkpoint
from picscribe.checkpoints.hugging_face import load_hugging_face
from picscribe.checkpoints.int8_weights import holds_int8, load_int8
from picscribe.checkpoints.registry import find_released
from picscribe.checkpoints.resolve import find_hub_name, resolve
from picscribe.errors import CheckpointError, ConfigurationError
from picscribe.media.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing

# PyTorch knows more names: some compute nothing (meta), others nobody has tried.
DEVICE = re.compile(r"cpu|(cuda|xpu)(:\d{1,2})?|mps(:0)?")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
INT8 = "int8"


def load(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: str = "float32",
    quantize: str | None = None,
    compile: bool = False,
) -> Checkpoint:
    """The checkpoint of a name (`nano`, `git-base-coco`, `owner/name` on the hub) or of a folder, on `device`.

    `revision` is a branch, tag or commit on the hub; HF_TOKEN, HF_HOME and the like are honoured by huggingface_hub. A
    released VQA or TextVQA checkpoint keeps aspects as the original code does when it is loaded by its name, though its
    files on the hub ask for a centre crop, and a released video checkpoint normalises by CLIP's mean and standard
    deviation, though its files give VideoMAE's; a folder is loaded as its files say.

    Weights are `dtype`, "float32", "bfloat16" or "float16", and memory-mapped where the file has them so; others are
    converted one by one. float16 is for GPUs: on a CPU PyTorch multiplies it three times slower than float32, and
    convolves it ten times slower. bfloat16 is for CPUs that have it; others are warned of. `quantize` "int8" makes the
    linear layers' weights int8, on a CPU; a folder that was saved so is loaded so without being asked. On a CPU with
    VNNI the convolutions of EfficientNet-Lite are then computed in int8 too. `compile` compiles the image encoder, for
    GPUs: see `compile_model`.

    Raises CheckpointError that says what is wrong with which file, ConfigurationError for a device that is not there or
    for options that do not go together. While a model is in use, replace its files by renaming others into their
    place, as `save` does: what is written into a mapped file shows in the model.
    """
    target = _find_device(str(device))
    if dtype not in DTYPES:
        raise ConfigurationError(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    if quantize not in (None, INT8):
        raise ConfigurationError(f"unknown quantize {quantize!r}: choose {INT8}, or leave it out")
    if dtype == "bfloat16" and target.type == "cpu" and not multiplies_bfloat16():
        warnings.warn(
            "this processor has no bfloat16 arithmetic, so it takes dozens of times as long: leave out dtype bfloat16",
            stacklevel=2,
        )
    folder = resolve(name_or_folder, revision=revision)
    checkpoint = _read(folder, _name_of(name_or_folder, folder), target, dtype, quantize)
    preprocessing = preprocessing_as_released(name_or_folder, checkpoint.preprocessing)
    try:
        model = checkpoint.model.to(target)
    except RuntimeError as error:  # its memory does not hold the model
        raise _unusable(str(device), error) from error
    if compile:
        compile_model(model)
    return replace(checkpoint, model=model, preprocessing=preprocessing)


def _name_of(name_or_folder: str | Path, folder: Path) -> str:
    return str(name_or_folder) if not os.path.isdir(name_or_folder) else folder.resolve().name


def _read(folder: Path, name: str, device: torch.device, dtype: str, quantize: str | None) -> Checkpoint:
    """A folder's checkpoint, on the CPU. Raises CheckpointError, and ConfigurationError for int8 where it is not."""
    stored = holds_int8(folder)
    if stored or quantize:
        what = f"{folder} has int8 weights" if stored else f"quantize is {quantize!r}"
        if dtype != "float32":
            raise ConfigurationError(f"{what}, but int8 works with float32 only: leave out dtype {dtype}")
        if device.type != "cpu":
            remedy = "load the model before its conversion" if stored else "set dtype bfloat16 instead of quantize"
            raise ConfigurationError(f"{what}, but int8 works on a CPU only: use device cpu, or {remedy}")
    if stored:
        return load_int8(folder, name)
    if find_layout(folder) == "original":
        from picscribe.checkpoints.original import load_original  # and PyYAML, which few need

        checkpoint = load_original(folder, name, DTYPES[dtype])
    else:
        checkpoint = load_hugging_face(folder, name, DTYPES[dtype])
    return replace(checkpoint, model=quantize_network(checkpoint.model)) if quantize else checkpoint


def _find_device(device: str) -> torch.device:
    """The device of a name, tried with nothing on it. Raises ConfigurationError where it cannot be used."""
    if not DEVICE.fullmatch(device):
        raise ConfigurationError(f"device {device!r} cannot be used: name cpu, cuda, cuda:1, mps or xpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch built without CUDA
        raise _unusable(device, error) from error


def _unusable(device: str, error: Exception) -> ConfigurationError:
    reason = str(error).strip().split("\n")[0]
    remedy = "" if device == "cpu" else ": use device cpu, or a PyTorch that supports it"
    return ConfigurationError(f"device {device!r} cannot be used ({reason}){remedy}")


def preprocessing_as_released(name_or_folder: str | Path, stored: Preprocessing) -> Preprocessing:
    """The preprocessing that a released checkpoint was published with; `stored` for all that is not named on the hub.

    Hugging Face's files know no aspect-keeping resize, which the original code does for VQA and TextVQA. Those of video
    checkpoints carry VideoMAE's default mean and standard deviation; the original code trained on CLIP's.
    """
    released = find_released(str(name_or_folder))
    if released is None or find_hub_name(name_or_folder) is None:
        return stored
    if released.frames:
        stored = replace(stored, mean=CLIP_MEAN, std=CLIP_STD)
    if released.longer_edge is None:
        return stored
    return replace(stored, size=released.image_size, mode="keep_aspect", longer_edge=released.longer_edge)


def find_layout(folder: Path) -> str:
    """How a folder's checkpoint is laid out: "hugging face" or "original". Raises CheckpointError for neither."""
    try:
        if (folder / model_config.FILE).exists():
            return "hugging face"
        from picscribe.checkpoints.original import WEIGHTS, find_original_weights

        if find_original_weights(folder) is not None:
            return "original"
        held = sorted(item.name for item in folder.iterdir())
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read ({error.strerror}): check its permissions") from error
    content = f"it holds {', '.join(held[:8])}" if held else "it is empty"
    if (folder / "best" / model_config.FILE).exists():
        content = f"it is a run's folder, whose best checkpoint is {folder / 'best'}"
    raise CheckpointError(f"{folder} is not a checkpoint: it has neither {model_config.FILE} nor {WEIGHTS}; {content}")

"""Load any checkpoint: by name or folder, in whichever layout it is."""

import os
import re
from dataclasses import replace
from pathlib import Path

import torch

from picscribe.checkpoints import model_config
from picscribe.checkpoints.checkpoint import Checkpoint
from picscribe.checkpoints.hugging_face import load_hugging_face
from picscribe.checkpoints.original import WEIGHTS, find_original_weights, load_original
from picscribe.checkpoints.registry import find_released
from picscribe.checkpoints.resolve import find_hub_name, resolve
from picscribe.errors import CheckpointError, ConfigurationError
from picscribe.media.preprocessing import Preprocessing

# PyTorch knows more names: some compute nothing (meta), others nobody has tried.
DEVICE = re.compile(r"cpu|(cuda|xpu)(:\d{1,2})?|mps(:0)?")


def load(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
) -> Checkpoint:
    """The checkpoint of a name (`nano`, `git-base-coco`, `owner/name` on the hub) or of a folder, on `device`.

    `revision` is a branch, tag or commit on the hub; HF_TOKEN, HF_HOME and the like are honoured by huggingface_hub. A
    released VQA or TextVQA checkpoint keeps aspects as the original code does when it is loaded by its name, though its
    files on the hub ask for a centre crop; a folder is loaded as its files say.

    Weights are float32, memory-mapped where the file has them so. Raises CheckpointError that says what is wrong with
    which file, ConfigurationError for a device that is not there. While a model is in use, replace its files by
    renaming others into their place, as `save` does: what is written into a mapped file shows in the model.
    """
    target = _find_device(str(device))
    folder = resolve(name_or_folder, revision=revision)
    name = str(name_or_folder) if not os.path.isdir(name_or_folder) else folder.resolve().name
    read = load_original if find_layout(folder) == "original" else load_hugging_face
    checkpoint = read(folder, name)
    preprocessing = preprocessing_as_released(name_or_folder, checkpoint.preprocessing)
    try:
        model = checkpoint.model.to(target)
    except RuntimeError as error:  # its memory does not hold the model
        raise _unusable(str(device), error) from error
    return replace(checkpoint, model=model, preprocessing=preprocessing)


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
    return ConfigurationError(f"device {device!r} cannot be used: {reason}")


def preprocessing_as_released(name_or_folder: str | Path, stored: Preprocessing) -> Preprocessing:
    """The preprocessing that a released checkpoint was published with; `stored` for all that is not named on the hub.

    Hugging Face's files know no aspect-keeping resize, which the original code does for VQA and TextVQA.
    """
    released = find_released(str(name_or_folder))
    if released is None or released.longer_edge is None or find_hub_name(name_or_folder) is None:
        return stored
    return replace(stored, size=released.image_size, mode="keep_aspect", longer_edge=released.longer_edge)


def find_layout(folder: Path) -> str:
    """How a folder's checkpoint is laid out: "hugging face" or "original". Raises CheckpointError for neither."""
    try:
        if (folder / model_config.FILE).exists():
            return "hugging face"
        if find_original_weights(folder) is not None:
            return "original"
        held = sorted(item.name for item in folder.iterdir())
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read ({error.strerror}): check its permissions") from error
    content = f"it holds {', '.join(held[:8])}" if held else "it is empty"
    raise CheckpointError(f"{folder} is no checkpoint: neither {model_config.FILE} nor {WEIGHTS} is there; {content}")

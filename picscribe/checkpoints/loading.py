"""Load any checkpoint: by name or folder, in whichever layout it is."""

from dataclasses import replace
from pathlib import Path

import torch

from picscribe.checkpoints import model_config
from picscribe.checkpoints.checkpoint import Checkpoint
from picscribe.checkpoints.hugging_face import load_hugging_face
from picscribe.checkpoints.original import WEIGHTS, find_original_weights, load_original
from picscribe.checkpoints.resolve import resolve
from picscribe.errors import CheckpointError, ConfigurationError


def load(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    device: str | torch.device = "cpu",
) -> Checkpoint:
    """The checkpoint of a name (`nano`, `git-base-coco`, `owner/name` on the hub) or of a folder, on `device`.

    Weights are float32, memory-mapped where the file has them so. Raises CheckpointError that says what is wrong with
    which file, ConfigurationError for a device that is not there. While a model is in use, replace its files by
    renaming others into their place, as `save` does: what is written into a mapped file shows in the model.
    """
    folder = resolve(name_or_folder, revision=revision, token=token)
    name = str(name_or_folder) if not Path(name_or_folder).is_dir() else folder.resolve().name
    read = load_original if find_layout(folder) == "original" else load_hugging_face
    checkpoint = read(folder, name)
    try:
        return replace(checkpoint, model=checkpoint.model.to(torch.device(device)))
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch built without CUDA
        raise ConfigurationError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error


def find_layout(folder: Path) -> str:
    """How a folder's checkpoint is laid out: "hugging face" or "original". Raises CheckpointError for neither."""
    if (folder / model_config.FILE).exists():
        return "hugging face"
    if find_original_weights(folder) is not None:
        return "original"
    held = sorted(item.name for item in folder.iterdir())
    content = f"it holds {', '.join(held[:8])}" if held else "it is empty"
    raise CheckpointError(f"{folder} is no checkpoint: neither {model_config.FILE} nor {WEIGHTS} is there; {content}")

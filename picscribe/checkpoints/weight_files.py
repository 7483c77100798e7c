"""Weight files in and out: safetensors, whole or sharded, and PyTorch pickles read without running their code."""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from picscribe.checkpoints.fields import abridged
from picscribe.errors import CheckpointError
from picscribe.text_files import read_json_object, require_own_content

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
LARGEST_JSON = 16 << 20  # bytes; a real index has less than 1 MB


def read_configuration(file: Path) -> dict[str, Any]:
    """The object of a JSON file of a checkpoint. Raises CheckpointError for a missing, unreadable or other file."""
    if not file.exists():
        raise CheckpointError(f"{file.name} is missing in {file.parent}: download the checkpoint again")
    return read_json_object(file, LARGEST_JSON, CheckpointError)


def without_wrappers(tensors: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """The tensors by the names that they have in the network itself.

    DataParallel puts `module.` before a name, and torch.compile `_orig_mod.` before or within it. Raises
    CheckpointError if a name is there both with and without it.
    """
    bare: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        inner = re.sub(r"^(module\.)+", "", name.replace("_orig_mod.", ""))
        if inner in bare:
            raise CheckpointError(
                f"{source} has {inner} twice, with and without the prefix 'module.' or '_orig_mod.': remove one"
            )
        bare[inner] = tensor
    return bare


def find_weights(folder: Path) -> list[Path]:
    """The files that hold a folder's weights; safetensors are preferred to pickles, as transformers does.

    Raises CheckpointError where there are none, or the index of a sharded checkpoint names what it must not.
    """
    for name in (SAFETENSORS, PICKLE):
        if (folder / name).is_file():
            return [folder / name]
        if (folder / f"{name}.index.json").is_file():
            return sorted(set(_read_index(folder / f"{name}.index.json").values()))
    raise CheckpointError(
        f"{folder} has no weights (neither {SAFETENSORS} nor {PICKLE}, nor their shards): download them again"
    )


def _read_index(index: Path) -> dict[str, Path]:
    """Name of each tensor → the shard that holds it, a plain file next to the index."""
    weight_map = read_configuration(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: `weight_map` must be an object (tensor name: shard file)")
    shards = {}
    for name, shard in weight_map.items():
        plain = isinstance(shard, str) and PurePosixPath(shard).name == shard and "\\" not in shard
        if not plain or not shard.endswith((".safetensors", ".bin")):
            raise CheckpointError(
                f"{index}: {abridged(shard)} must be the name of a .safetensors or .bin file in the same folder"
            )
        shards[name] = index.parent / shard
    missing = sorted({shard.name for shard in shards.values() if not shard.is_file()})
    if missing:
        named = ", ".join(missing[:5])
        raise CheckpointError(
            f"{index.parent}: {len(missing)} shard(s) of its index are missing ({named}): download them again"
        )
    return shards


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder's weights by its name in the network, memory-mapped: pages are read when used.

    Raises CheckpointError for a damaged file, code in a pickle, or shards that are not what their index says.
    """
    files = find_weights(folder)
    tensors: dict[str, Tensor] = {}
    for file in files:
        content = read_safetensors(file) if file.suffix == ".safetensors" else read_pickle(file)
        doubled = sorted(tensors.keys() & content.keys())
        if doubled:
            raise CheckpointError(
                f"{file} has tensors of another shard ({', '.join(doubled[:5])}): download both again"
            )
        tensors.update(content)
    for name in (SAFETENSORS, PICKLE):
        index = folder / f"{name}.index.json"
        if folder / name not in files and index.is_file():
            _check_against_index(index, tensors)
            break
    return without_wrappers(tensors, folder)


def _check_against_index(index: Path, tensors: Mapping[str, Tensor]) -> None:
    listed = _read_index(index).keys()
    differing = sorted(listed ^ tensors.keys())
    if differing:
        named = ", ".join(differing[:5])
        raise CheckpointError(
            f"{index} and its shards differ in {len(differing)} tensor(s) ({named}): download them again"
        )


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file, memory-mapped. Raises CheckpointError for a damaged one."""
    require_own_content(file, CheckpointError)
    try:
        return dict(safetensors.torch.load_file(file))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{file} is not a complete safetensors file ({error}): copy or download it again"
        ) from error


def read_pickle(file: Path) -> dict[str, Tensor]:
    """The tensors of one PyTorch file, whole or under "model" or "state_dict"; no code that it may carry is run."""
    if not zipfile.is_zipfile(file):  # which torch.save writes
        require_own_content(file, CheckpointError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickle protocols: what cannot be read is an error below
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing: download the checkpoint again") from None
    except Exception as error:  # what a damaged pickle raises has no bounds; no interrupt is caught here
        reason = str(error).strip().split("\n")[0][:300]
        raise CheckpointError(
            f"{file} cannot be read as tensors only ({type(error).__name__}: {reason}). It is damaged, or contains "
            "code, which picscribe never runs: download it again from a source that you trust"
        ) from None
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{file} must contain a dictionary of tensors, but contains a {type(content).__name__}")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise CheckpointError(f"{file}: {name!r} is not a plain tensor, but a {type(tensor).__name__}")
    return {name: tensor.detach() for name, tensor in content.items()}

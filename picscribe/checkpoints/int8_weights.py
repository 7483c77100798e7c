"""Checkpoints whose linear layers are stored in int8: a folder of picscribe's own, smaller to keep and to load."""

import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from picscribe.acceleration.int8 import quantize
from picscribe.checkpoints import model_config, preprocessor_config, weight_files
from picscribe.checkpoints.checkpoint import Checkpoint, require_folder, vocabulary_problems
from picscribe.checkpoints.hugging_face import SAVED_FILES
from picscribe.checkpoints.staging import staged_folder
from picscribe.checkpoints.tensor_names import empty_model
from picscribe.checkpoints.weights import raise_problems
from picscribe.model import Git, GitConfig
from picscribe.text.tokenizer import Tokenizer

WEIGHTS = "int8.safetensors"
"""Another name than usual: transformers would take the usual one, and fill in what it misses at random."""


def holds_int8(folder: Path) -> bool:
    """Whether a folder holds what `save_int8` wrote."""
    return (folder / WEIGHTS).is_file()


def save_int8(checkpoint: Checkpoint, folder: str | Path) -> None:
    """Write a checkpoint whose network was quantised, whole or not at all, as `save` does; only picscribe reads it."""
    model = checkpoint.model
    raise_problems(f"checkpoint {checkpoint.name}", vocabulary_problems(model.config, checkpoint.tokenizer))
    config = model_config.write_model_config(model.config, torch.float32)
    config[model_config.QUANTIZATION] = model_config.INT8
    preprocessor = preprocessor_config.write_preprocessing(checkpoint.preprocessing, model.config.frames)
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with staged_folder(Path(folder), {*SAVED_FILES, WEIGHTS}) as stage:
        for file, content in ((model_config.FILE, config), (preprocessor_config.FILE, preprocessor)):
            (stage / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        checkpoint.tokenizer.save(stage)
        safetensors.torch.save_file(tensors, stage / WEIGHTS, metadata={"format": "pt"})


def load_int8(folder: Path, name: str) -> Checkpoint:
    """The checkpoint of a folder that `save_int8` wrote, memory-mapped. Raises CheckpointError naming what is wrong."""
    require_folder(folder)
    config = model_config.read_model_config(folder)
    preprocessing = preprocessor_config.read_preprocessing(folder)
    tokenizer = Tokenizer.from_folder(folder)
    raise_problems(folder, vocabulary_problems(config, tokenizer))
    tensors = weight_files.read_safetensors(folder / WEIGHTS)
    model = empty_int8_model(config)
    raise_problems(folder, int8_differences(tensors, model) or _broken_values(tensors))
    model.load_state_dict(tensors, assign=True)
    return Checkpoint(model.eval(), tokenizer, preprocessing, name, folder)


def empty_int8_model(config: GitConfig) -> Git:
    """The quantised network without memory for its weights."""
    model = empty_model(config)
    with torch.device("meta"):
        return quantize(model)


def int8_differences(tensors: dict[str, Tensor], model: Git) -> list[str]:
    """What keeps a file's tensors from being those of the quantised `model`, by name, shape and type alone."""
    expected = model.state_dict()
    problems = [f"missing tensor {name}" for name in expected if name not in tensors]
    problems += [f"unexpected tensor {name}" for name in tensors if name not in expected]
    for name in expected.keys() & tensors.keys():
        found, wanted = ((tuple(x.shape), x.dtype) for x in (tensors[name], expected[name]))
        if found != wanted:
            problems.append(f"tensor {name} is {found[1]} of shape {found[0]}, expected {wanted[1]} of {wanted[0]}")
    return sorted(problems)


def _broken_values(tensors: dict[str, Tensor]) -> list[str]:
    floats = {name: x for name, x in tensors.items() if x.is_floating_point() and x.numel()}
    broken = [name for name, x in floats.items() if not all(bool(torch.isfinite(end)) for end in x.aminmax())]
    return [f"tensor {name} has values that are not finite (NaN or infinite)" for name in sorted(broken)]

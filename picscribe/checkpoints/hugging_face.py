"""A checkpoint as a folder in Hugging Face's layout, read and written; picscribe's own models use the same layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from picscribe.checkpoints import model_config, preprocessor_config, weight_files
from picscribe.checkpoints.checkpoint import Checkpoint, require_exact, require_folder, vocabulary_problems
from picscribe.checkpoints.staging import staged_folder
from picscribe.checkpoints.tensor_names import (
    HUGGING_FACE,
    HUGGING_FACE_EXTRAS,
    StoredTensor,
    empty_model,
    stored_tensors,
)
from picscribe.checkpoints.weights import fill, gather, raise_problems, scatter, without_padding
from picscribe.errors import CheckpointError
from picscribe.model import ClipVitConfig, Git, GitConfig
from picscribe.text.tokenizer import Tokenizer

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
GENERATION_CONFIG = "generation_config.json"
TRAINING_RECORD = "training.json"
SAVED_FILES = frozenset(
    {
        model_config.FILE,
        preprocessor_config.FILE,
        preprocessor_config.PROCESSOR_FILE,
        GENERATION_CONFIG,
        TRAINING_RECORD,
        weight_files.SAFETENSORS,
        *TOKENIZER_FILES,
    }
)
STORED_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

# Up to version 4 transformers spelt it so, and so do the released video checkpoints; version 5 reads its own spelling
# alone, so both are written: a version finds the one that it knows, and leaves out the other.
OLD_TEMPORAL, TEMPORAL = "git.img_temperal_embedding.", "git.img_temporal_embedding."


def expected_tensors(model: Git) -> tuple[list[StoredTensor], frozenset[str]]:
    """The tensors that a folder of this network must hold, and the names that it may hold besides."""
    if isinstance(model.config.image_encoder, ClipVitConfig):
        return stored_tensors(model, HUGGING_FACE), HUGGING_FACE_EXTRAS
    return stored_tensors(model, None), frozenset()


def read_folder_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """A folder's tensors, memory-mapped, by today's names. Raises CheckpointError."""
    tensors = weight_files.read_tensors(folder)
    for old in [name for name in tensors if name.startswith(OLD_TEMPORAL)]:
        today, tensor = old.replace(OLD_TEMPORAL, TEMPORAL), tensors.pop(old)
        if not torch.equal(tensors.setdefault(today, tensor), tensor):
            raise CheckpointError(f"{folder} has two different tensors for {today}: remove it or {old}, its older name")
    return tensors


def load_model(folder: Path, config: GitConfig, dtype: torch.dtype, words: int | None = None) -> Git:
    """The network of a folder, its weights memory-mapped where they are stored as `dtype`. Raises CheckpointError.

    `words` is the vocabulary's size where the weights' rows may be padded.
    """
    model = empty_model(config)
    expected, extras = expected_tensors(model)
    state = gather(read_folder_tensors(folder), expected, extras, folder, dtype)
    fitting = without_padding(state, config, words)
    return fill(model if fitting == config else empty_model(fitting), state, folder)


def load_hugging_face(folder: Path, name: str, dtype: torch.dtype) -> Checkpoint:
    """The checkpoint of a folder with config.json, its weights as `dtype`.

    Raises CheckpointError that says which file is wrong and how.
    """
    require_folder(folder)
    config = model_config.read_model_config(folder)
    preprocessing = preprocessor_config.read_preprocessing(folder)
    tokenizer = Tokenizer.from_folder(folder)
    raise_problems(folder, vocabulary_problems(config, tokenizer))
    model = load_model(folder, config, dtype, tokenizer.vocabulary_size)
    return Checkpoint(model, tokenizer, preprocessing, name, folder)


def save(
    checkpoint: Checkpoint,
    folder: str | Path,
    dtype: torch.dtype = torch.float32,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write `checkpoint` as a folder that picscribe loads, and transformers too where the image encoder is CLIP's.

    `dtype` is how the weights are stored; `training`, where given, is how they came to be (recipe, versions, scores),
    written as training.json. The folder appears whole or not at all; an earlier checkpoint in it is
    replaced. Raises CheckpointError where the folder holds other files, or the model has what the layout cannot say.
    """
    if dtype not in STORED_DTYPES:
        raise CheckpointError(
            f"weights cannot be stored as {dtype}: choose one of {', '.join(map(str, STORED_DTYPES))}"
        )
    require_exact(checkpoint, "converted back")
    model = checkpoint.model
    raise_problems(f"checkpoint {checkpoint.name}", vocabulary_problems(model.config, checkpoint.tokenizer))
    config = model_config.write_model_config(model.config, dtype)
    preprocessor = preprocessor_config.write_preprocessing(checkpoint.preprocessing, model.config.frames)
    decoder = model.config.text_decoder
    generation = {"bos_token_id": decoder.cls_id, "eos_token_id": decoder.sep_id, "pad_token_id": decoder.pad_id}
    tensors = scatter(model, expected_tensors(model)[0], dtype, keep_tied=False)
    frames = {name: tensor for name, tensor in tensors.items() if name.startswith(TEMPORAL)}
    tensors |= {name.replace(TEMPORAL, OLD_TEMPORAL): tensor.clone() for name, tensor in frames.items()}
    with staged_folder(Path(folder), SAVED_FILES) as stage:
        for file, content in (
            (model_config.FILE, config),
            (preprocessor_config.FILE, preprocessor),
            (GENERATION_CONFIG, generation),
            (TRAINING_RECORD, training),
        ):
            if content is None:
                continue
            (stage / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        checkpoint.tokenizer.save(stage)
        safetensors.torch.save_file(tensors, stage / weight_files.SAFETENSORS, metadata={"format": "pt"})

"""What each tensor of picscribe's network is called in Hugging Face's layout and in the original model.pt."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from picscribe.model import Git, GitConfig

_HF_VISION = "git.image_encoder.vision_model"
_HF_BLOCK = f"{_HF_VISION}.encoder.layers.#"
_CLIP_BLOCK = "image_encoder.transformer.resblocks.#"


def _bert_layers(start: str) -> dict[str, tuple[str, ...]]:
    """The decoder's layers, which both layouts name as BERT does, below `start`."""
    ours, theirs = "text_decoder.layers.#", f"{start}encoder.layer.#"
    return {
        f"{ours}.attention.qkv": tuple(f"{theirs}.attention.self.{part}" for part in ("query", "key", "value")),
        f"{ours}.attention.out": (f"{theirs}.attention.output.dense",),
        f"{ours}.attention_norm": (f"{theirs}.attention.output.LayerNorm",),
        f"{ours}.up": (f"{theirs}.intermediate.dense",),
        f"{ours}.down": (f"{theirs}.output.dense",),
        f"{ours}.mlp_norm": (f"{theirs}.output.LayerNorm",),
    }


# Our module or parameter → theirs. `#` is the number of a layer, `*` runs over the frames of a video; several names are
# stacked, in this order, along our tensor's first axis.
HUGGING_FACE: dict[str, tuple[str, ...]] = {
    "image_encoder.patch_embedding": (f"{_HF_VISION}.embeddings.patch_embedding",),
    "image_encoder.class_embedding": (f"{_HF_VISION}.embeddings.class_embedding",),
    "image_encoder.position_embedding": (f"{_HF_VISION}.embeddings.position_embedding.weight",),
    "image_encoder.pre_norm": (f"{_HF_VISION}.pre_layrnorm",),
    "image_encoder.post_norm": (f"{_HF_VISION}.post_layernorm",),
    "image_encoder.blocks.#.attention.qkv": tuple(f"{_HF_BLOCK}.self_attn.{part}_proj" for part in "qkv"),
    "image_encoder.blocks.#.attention.out": (f"{_HF_BLOCK}.self_attn.out_proj",),
    "image_encoder.blocks.#.attention_norm": (f"{_HF_BLOCK}.layer_norm1",),
    "image_encoder.blocks.#.mlp_norm": (f"{_HF_BLOCK}.layer_norm2",),
    "image_encoder.blocks.#.up": (f"{_HF_BLOCK}.mlp.fc1",),
    "image_encoder.blocks.#.down": (f"{_HF_BLOCK}.mlp.fc2",),
    "temporal_embedding": ("git.img_temporal_embedding.*",),
    "projection": ("git.visual_projection.visual_projection.0",),
    "projection_norm": ("git.visual_projection.visual_projection.1",),
    "text_decoder.word_embedding": ("git.embeddings.word_embeddings",),
    "text_decoder.position_embedding": ("git.embeddings.position_embeddings",),
    "text_decoder.embedding_norm": ("git.embeddings.LayerNorm",),
    "text_decoder.output": ("output",),
    **_bert_layers("git."),
}

ORIGINAL: dict[str, tuple[str, ...]] = {
    "image_encoder.patch_embedding": ("image_encoder.conv1",),
    "image_encoder.class_embedding": ("image_encoder.class_embedding",),
    "image_encoder.position_embedding": ("image_encoder.positional_embedding",),
    "image_encoder.pre_norm": ("image_encoder.ln_pre",),
    "image_encoder.post_norm": ("image_encoder.ln_post",),
    "image_encoder.blocks.#.attention.qkv.weight": (f"{_CLIP_BLOCK}.attn.in_proj_weight",),
    "image_encoder.blocks.#.attention.qkv.bias": (f"{_CLIP_BLOCK}.attn.in_proj_bias",),
    "image_encoder.blocks.#.attention.out": (f"{_CLIP_BLOCK}.attn.out_proj",),
    "image_encoder.blocks.#.attention_norm": (f"{_CLIP_BLOCK}.ln_1",),
    "image_encoder.blocks.#.mlp_norm": (f"{_CLIP_BLOCK}.ln_2",),
    "image_encoder.blocks.#.up": (f"{_CLIP_BLOCK}.mlp.c_fc",),
    "image_encoder.blocks.#.down": (f"{_CLIP_BLOCK}.mlp.c_proj",),
    "temporal_embedding": ("img_temperal_embedding.*",),
    "projection": ("textual.visual_projection.0",),
    "projection_norm": ("textual.visual_projection.1",),
    "text_decoder.word_embedding": ("textual.embedding.words",),
    "text_decoder.position_embedding": ("textual.embedding.positions",),
    "text_decoder.embedding_norm": ("textual.embedding.layer_norm",),
    "text_decoder.output": ("textual.output",),
    **_bert_layers("textual.transformer."),
}

HUGGING_FACE_EXTRAS = frozenset(
    {"git.embeddings.position_ids", "git.image_encoder.vision_model.embeddings.position_ids"}
)
"""Buffers 0, 1, 2, … that older versions of transformers stored; nothing is computed from them here."""

ORIGINAL_EXTRAS = frozenset({"image_encoder.proj"})
"""CLIP's projection to its joint space, which the original files carry along and GIT never uses."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of picscribe's network and the tensors of a file that it is made of, stacked along its first axis."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[str, ...]
    part_shape: tuple[int, ...]
    tied: bool = False
    """True for an output weight that is the word embedding: a file may leave it out."""


class _Uninitialised(TorchFunctionMode):
    """Skip `torch.nn.init`: of no use without memory, and on `meta` it imports torch's whole compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def empty_model(config: GitConfig) -> Git:
    """The network without memory for its weights (on the `meta` device)."""
    with torch.device("meta"), _Uninitialised():
        return Git(config)


def count_parameters(config: GitConfig) -> int:
    """Numbers that training would fit, however they are stored; tied ones once."""
    return sum(parameter.numel() for parameter in empty_model(config).parameters())


def stored_tensors(model: Git, naming: Mapping[str, tuple[str, ...]] | None) -> list[StoredTensor]:
    """Every tensor of `model` with its names in a file: by `HUGGING_FACE`, by `ORIGINAL`, or our own for None."""
    tensors = []
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        tied = name == "text_decoder.output.weight" and model.config.text_decoder.tie_output
        parts = _translate(name, shape, naming) if naming is not None else (name,)
        if naming is not None and name == "temporal_embedding":
            part_shape: tuple[int, ...] = (1, 1, shape[1])
        else:
            part_shape = (shape[0] // len(parts), *shape[1:])
        tensors.append(StoredTensor(name, shape, parts, part_shape, tied))
    return tensors


def _translate(name: str, shape: tuple[int, ...], naming: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    number = re.search(r"\.(\d+)\.", name)
    template = name.replace(number[0], ".#.", 1) if number else name
    module, _, leaf = template.rpartition(".")
    parts = naming[template] if template in naming else tuple(f"{part}.{leaf}" for part in naming[module])
    if number:
        parts = tuple(part.replace("#", number[1]) for part in parts)
    if parts[0].endswith("*"):
        parts = tuple(parts[0].replace("*", str(frame)) for frame in range(shape[0]))
    return parts

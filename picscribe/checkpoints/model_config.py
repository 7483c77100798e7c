"""config.json ↔ GitConfig: transformers' keys for CLIP models, picscribe's own for EfficientNet-Lite ones."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from picscribe.checkpoints.fields import Fields, abridged
from picscribe.checkpoints.weight_files import read_configuration
from picscribe.errors import CheckpointError, ConfigurationError
from picscribe.model import ClipVitConfig, EfficientNetLiteConfig, GitConfig, TextDecoderConfig
from picscribe.model.config import LITE_VARIANTS

FILE = "config.json"
QUANTIZATION = "quantization_config"
INT8 = {"quant_method": "picscribe-int8"}
"""What config.json says of weights that `save_int8` wrote."""

MODEL_TYPES = ("git", "picscribe")
MOST_LAYERS, MOST_PIXELS, MOST_FRAMES = 1000, 1 << 16, 1 << 16


def read_model_config(folder: Path) -> GitConfig:
    """The sizes in a folder's config.json. Raises CheckpointError that lists every key that is missing or wrong."""
    file = folder / FILE
    content = read_configuration(file)
    _require_known_quantization(content, file)
    fields = Fields(content, file)
    kind = fields.choice("model_type", MODEL_TYPES)
    if fields.problems:
        fields.finish()
    try:
        return _read_git(fields) if kind == "git" else _read_picscribe(fields)
    except ConfigurationError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _require_known_quantization(content: dict[str, Any], file: Path) -> None:
    method = content.get(QUANTIZATION)
    if method not in (None, INT8):
        raise CheckpointError(
            f"{file}: {QUANTIZATION} is {abridged(method)}, which picscribe cannot read: use the "
            "model before it was quantized"
        )


def _read_git(fields: Fields) -> GitConfig:
    """Keys of transformers' GitConfig; those that it may leave out of a file take the defaults that it documents."""
    vision = fields.section("vision_config")
    vision.choice("hidden_act", ("quick_gelu",), "quick_gelu")
    vision.choice("num_channels", (3,), 3)
    fields.choice("hidden_act", ("gelu",), "gelu")
    fields.choice("position_embedding_type", ("absolute",), "absolute")
    vision_eps, text_eps = vision.number("layer_norm_eps", 1e-5), fields.number("layer_norm_eps", 1e-12)
    image = {
        "width": vision.whole("hidden_size", 768),
        "layers": vision.whole("num_hidden_layers", 12, most=MOST_LAYERS),
        "heads": vision.whole("num_attention_heads", 12),
        "mlp_width": vision.whole("intermediate_size", 3072),
        "patch_size": vision.whole("patch_size", 16, most=MOST_PIXELS),
        "image_size": vision.whole("image_size", 224, most=MOST_PIXELS),
    }
    text = {
        "vocabulary_size": fields.whole("vocab_size"),
        "width": fields.whole("hidden_size"),
        "layers": fields.whole("num_hidden_layers", most=MOST_LAYERS),
        "heads": fields.whole("num_attention_heads"),
        "mlp_width": fields.whole("intermediate_size"),
        "max_positions": fields.whole("max_position_embeddings"),
        "pad_id": fields.whole("pad_token_id", 0, least=0),
        "cls_id": fields.whole("bos_token_id", 101, least=0),
        "sep_id": fields.whole("eos_token_id", 102, least=0),
    }
    dropout = fields.number("hidden_dropout_prob", 0.1)
    attention_dropout = fields.number("attention_probs_dropout_prob", 0.1)
    tied = fields.flag("tie_word_embeddings", False)
    embedding_eps = fields.number("embedding_norm_eps", text_eps)  # picscribe's addition: the original has 1e-8 here
    frames = 0
    if fields.values.get("num_image_with_embedding") is not None:
        frames = fields.whole("num_image_with_embedding", most=MOST_FRAMES)
    fields.finish()
    return GitConfig(
        ClipVitConfig(**image, norm_eps=vision_eps),
        TextDecoderConfig(
            **text,
            dropout=dropout,
            attention_dropout=attention_dropout,
            norm_eps=text_eps,
            embedding_norm_eps=embedding_eps,
            tie_output=tied,
        ),
        frames=frames,
        projection_norm_eps=vision_eps,
    )


def _read_picscribe(fields: Fields) -> GitConfig:
    image, text = fields.section("image_encoder"), fields.section("text_decoder")
    image.choice("type", ("efficientnet_lite",))
    image_size = image.whole("image_size", most=MOST_PIXELS)
    if "variants" in image.values:  # early versions could hold several encoders, and narrower ones
        (variant,) = image.choice("variants", [[one] for one in LITE_VARIANTS])
    else:
        variant = image.choice("variant", LITE_VARIANTS)
    image.choice("features", (EfficientNetLiteConfig.width,), EfficientNetLiteConfig.width)
    sizes = {name: text.whole(name) for name in ("vocabulary_size", "width", "heads", "mlp_width", "max_positions")}
    sizes["layers"] = text.whole("layers", most=MOST_LAYERS)
    ids = {name: text.whole(name, least=0) for name in ("pad_id", "cls_id", "sep_id")}
    numbers: dict[str, Any] = {
        name: text.number(name) for name in ("dropout", "attention_dropout", "norm_eps", "embedding_norm_eps")
    }
    tied = text.flag("tie_output")
    frames, projection_eps = fields.whole("frames", least=0, most=MOST_FRAMES), fields.number("projection_norm_eps")
    fields.finish()
    decoder = TextDecoderConfig(**sizes, **ids, **numbers, tie_output=tied)
    return GitConfig(EfficientNetLiteConfig(variant, image_size), decoder, frames, projection_eps)


def write_model_config(config: GitConfig, dtype: torch.dtype) -> dict[str, Any]:
    """The content of config.json for a model whose weights are stored as `dtype`.

    Raises CheckpointError for a size that Hugging Face's layout has no key for.
    """
    stored = str(dtype).removeprefix("torch.")
    if isinstance(config.image_encoder, EfficientNetLiteConfig):
        return {
            "model_type": "picscribe",
            "dtype": stored,
            "image_encoder": {
                "type": "efficientnet_lite",
                "variant": config.image_encoder.variant,
                "image_size": config.image_encoder.image_size,
            },
            "text_decoder": asdict(config.text_decoder),
            "frames": config.frames,
            "projection_norm_eps": config.projection_norm_eps,
        }
    return _write_git(config, config.image_encoder, stored)


def _write_git(config: GitConfig, image: ClipVitConfig, stored: str) -> dict[str, Any]:
    text = config.text_decoder
    if config.projection_norm_eps != image.norm_eps:
        raise CheckpointError(
            "Hugging Face's layout stores one norm_eps for the image encoder and the projection, but the model has "
            f"{image.norm_eps} and {config.projection_norm_eps}: give both the same"
        )
    content: dict[str, Any] = {
        "architectures": ["GitForCausalLM"],
        "model_type": "git",
        "dtype": stored,
        "vocab_size": text.vocabulary_size,
        "hidden_size": text.width,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "intermediate_size": text.mlp_width,
        "max_position_embeddings": text.max_positions,
        "hidden_act": "gelu",
        "hidden_dropout_prob": text.dropout,
        "attention_probs_dropout_prob": text.attention_dropout,
        "layer_norm_eps": text.norm_eps,
        "initializer_range": 0.02,
        "pad_token_id": text.pad_id,
        "bos_token_id": text.cls_id,
        "eos_token_id": text.sep_id,
        "tie_word_embeddings": text.tie_output,
        "num_image_with_embedding": config.frames or None,
        "use_cache": True,
        "vision_config": {
            "model_type": "git_vision_model",
            "hidden_size": image.width,
            "num_hidden_layers": image.layers,
            "num_attention_heads": image.heads,
            "intermediate_size": image.mlp_width,
            "patch_size": image.patch_size,
            "image_size": image.image_size,
            "num_channels": 3,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": image.norm_eps,
        },
    }
    if text.embedding_norm_eps != text.norm_eps:
        content["embedding_norm_eps"] = text.embedding_norm_eps
    return content

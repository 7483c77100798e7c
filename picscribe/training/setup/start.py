"""The checkpoint that a run starts from, or a new network of `start: imagenet`, and which of its weights learn."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from picscribe import checkpoints
from picscribe.acceleration.depthwise import learn_depthwise_fast
from picscribe.checkpoints import Checkpoint
from picscribe.checkpoints.checkpoint import require_exact
from picscribe.checkpoints.imagenet import load_imagenet
from picscribe.errors import ConfigurationError
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import Git, GitConfig
from picscribe.model.clip_vit import ClipVit
from picscribe.model.efficientnet_lite import EfficientNetLite, InvertedResidual
from picscribe.text.prompts import MAX_PROMPT
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.data.frozen_features import list_frozen_parameters
from picscribe.training.data.mixture import TrainingData
from picscribe.training.recipe import IMAGENET, Recipe, WeightSettings
from picscribe.training.setup.low_rank import add_low_rank

FRAMES = 6
"""Of a video, where neither checkpoint nor recipe says; the paper's."""
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Of the pixels that EfficientNet-Lite's weights were trained on, in TensorFlow."""


def load_start(recipe: Recipe, data: TrainingData) -> Checkpoint:
    """The checkpoint to start from, or a new one, its weights trained or frozen as the recipe says.

    For videos it has temporal embeddings; where it came without them as many as `image.frames`, or the paper's.
    """
    if recipe.image.frames and not data.has_videos:
        raise ConfigurationError("image.frames is for videos, but the data are photos: leave it out")
    start = make_from_imagenet(recipe, data) if recipe.start == IMAGENET else checkpoints.load(recipe.start)
    require_exact(start, "trained")
    _require_positions(recipe, data, start)
    had_frames = bool(start.model.config.frames)
    _set_frames(start.model, recipe, data)
    if len(recipe.image.sizes) == 1:
        start = replace(start, preprocessing=replace(start.preprocessing, size=recipe.image.sizes[0]))
    # Weights mapped from a file would be written to where they are trained.
    for parameter in start.model.parameters():
        parameter.data = parameter.data.clone()
    learn_depthwise_fast(start.model)
    choose_weights(start.model, recipe.weights)
    if start.model.temporal_embedding is not None:
        if not data.has_videos:
            start.model.temporal_embedding.requires_grad_(False)  # unused, and several processes would wait for it
        elif not had_frames:
            start.model.temporal_embedding.requires_grad_(True)  # new, and without it no frame comes before another
    return start


def make_from_imagenet(recipe: Recipe, data: TrainingData) -> Checkpoint:
    """The network of `recipe.network`, over a vocabulary learned from the texts of `data`.

    Raises ConfigurationError for streamed data, MissingPackageError where ImageNet's weights are not installed.
    """
    if data.has_streams():
        raise ConfigurationError(
            f"start={IMAGENET} cannot learn its vocabulary from streamed data: leave out stream, or start from "
            "a checkpoint"
        )
    network = recipe.network
    texts = [text for image in data.images() for pair in image.texts for text in pair if text]
    tokenizer = Tokenizer.learn(texts, network.vocabulary_size, network.min_frequency)
    decoder = network.text_decoder(
        vocabulary_size=tokenizer.vocabulary_size,
        pad_id=tokenizer.pad_id,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
    )
    model = Git(GitConfig(network.image_encoder(), decoder))
    encoder = model.image_encoder
    assert isinstance(encoder, EfficientNetLite)
    load_imagenet(encoder)
    # Frozen weights are what float16 files will hold: runs that start from those then share the kept views.
    for parameter in list_frozen_parameters(encoder, recipe.weights.frozen_blocks):
        parameter.data = parameter.half().float()
    preprocessing = Preprocessing(size=network.image_size, mode="square", mean=MEAN, std=STD)
    return Checkpoint(model, tokenizer, preprocessing, recipe.name, Path(IMAGENET))


def choose_weights(model: Git, settings: WeightSettings) -> None:
    """Set which weights learn, and the dropout. Raises ConfigurationError for more frozen blocks than there are."""
    model.requires_grad_(True)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = settings.dropout
    if settings.train == "decoder":
        model.image_encoder.requires_grad_(False)
    elif settings.train == "lora":
        add_low_rank(model, settings)
    elif settings.frozen_blocks:
        blocks = len(model.image_encoder.blocks)
        if settings.frozen_blocks > blocks:
            raise ConfigurationError(
                f"weights.frozen_blocks is {settings.frozen_blocks}, but the image encoder has {blocks}: lower it"
            )
        for parameter in list_frozen_parameters(model.image_encoder, settings.frozen_blocks):
            parameter.requires_grad_(False)
    if settings.frozen_depthwise:
        if isinstance(model.image_encoder, ClipVit):
            raise ConfigurationError("weights.frozen_depthwise has no effect on a ViT: leave it out")
        for module in model.image_encoder.modules():
            if isinstance(module, InvertedResidual):
                module.depthwise.requires_grad_(False)


def _set_frames(model: Git, recipe: Recipe, data: TrainingData) -> None:
    """Give a network for videos its temporal embeddings. Raises ConfigurationError where it has another number."""
    asked, had = recipe.image.frames, model.config.frames
    if had:
        if asked and asked != had:
            raise ConfigurationError(f"image.frames is {asked}, but {recipe.start} has {had}: leave it out")
    elif data.has_videos:
        frames = asked or FRAMES
        model.config = replace(model.config, frames=frames)
        model.temporal_embedding = nn.Parameter(torch.zeros(frames, model.config.image_encoder.width))


def _require_positions(recipe: Recipe, data: TrainingData, start: Checkpoint) -> None:
    """Raise ConfigurationError where texts of the run would be longer than the decoder's positions."""
    asked = start.tokenizer.encode_batch(sorted({example.question for example in data.validation}))
    prompt = 1 + min(MAX_PROMPT, max(map(len, asked)))
    lengths = {
        "data.max_tokens": recipe.data.max_tokens + 2,
        "validation.max_new_tokens": recipe.validation.max_new_tokens + prompt,
    }
    positions = start.model.config.text_decoder.max_positions
    for name, length in lengths.items():
        if length > positions:
            raise ConfigurationError(
                f"texts of {length} tokens are more than the {positions} positions of {recipe.start}: lower {name}"
            )

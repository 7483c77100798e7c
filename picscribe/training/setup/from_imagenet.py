"""A start that is no checkpoint: EfficientNet-Lite as ImageNet taught it, and a text decoder that knows nothing yet."""

from pathlib import Path

from picscribe.checkpoints import Checkpoint
from picscribe.checkpoints.imagenet import load_imagenet
from picscribe.errors import ConfigurationError
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import Git, GitConfig
from picscribe.model.efficientnet_lite import EfficientNetLite
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.data.mixture import Data
from picscribe.training.data.shards import ShardItems
from picscribe.training.recipe import IMAGENET, Recipe
from picscribe.training.setup.parameter_groups import lowest_parameters

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Of the pixels that EfficientNet-Lite's weights were trained on, in TensorFlow."""


def from_imagenet(recipe: Recipe, data: Data) -> Checkpoint:
    """The network of `recipe.network`, over a vocabulary learned from the texts of `data`.

    Raises ConfigurationError for streamed data, MissingPackageError where ImageNet's weights are not installed.
    """
    network = recipe.network
    tokenizer = Tokenizer.learn(_texts(data), network.vocabulary_size, network.min_frequency)
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
    # What stays as it is is what float16 files will hold: runs from them then share the views that are kept.
    for parameter in lowest_parameters(encoder, recipe.weights.frozen_blocks):
        parameter.data = parameter.half().float()
    preprocessing = Preprocessing(size=network.image_size, mode="square", mean=MEAN, std=STD)
    return Checkpoint(model, tokenizer, preprocessing, recipe.name, Path(IMAGENET))


def _texts(data: Data) -> list[str]:
    """Captions, questions and answers, each photo's together."""
    if any(isinstance(part.items, ShardItems) for part in data.parts):
        raise ConfigurationError(
            f"start={IMAGENET} learns its vocabulary from data that are not streamed: leave out stream, or start from "
            "a checkpoint"
        )
    return [text for part in data.parts for item in part.items for pair in item.texts for text in pair if text]

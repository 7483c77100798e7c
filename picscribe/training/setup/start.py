"""What a run stands on: accelerate's processes and device, and the checkpoint it starts from."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn

from picscribe import checkpoints
from picscribe.acceleration.depthwise import learn_depthwise_fast
from picscribe.checkpoints import Checkpoint
from picscribe.errors import ConfigurationError, MissingPackageError
from picscribe.model import Git
from picscribe.model.clip_vit import ClipVit
from picscribe.model.efficientnet_lite import InvertedResidual
from picscribe.text.prompts import MAX_PROMPT
from picscribe.training.data.mixture import Data
from picscribe.training.recipe import IMAGENET, Recipe, WeightSettings
from picscribe.training.setup.from_imagenet import from_imagenet
from picscribe.training.setup.low_rank import add_low_rank
from picscribe.training.setup.parameter_groups import freeze_lowest
from picscribe.training.setup.precision import precision_here

PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}  # accelerate's names
LONGEST_WAIT = timedelta(hours=12)
"""Of processes for each other: one validates, and the others wait, for longer than torch's ten minutes on GPUs."""
FRAMES = 6
"""Of a video, where neither checkpoint nor recipe says; the paper's."""


def make_accelerator(recipe: Recipe, output: Path) -> Any:
    """accelerate's view of the processes and the device. Raises MissingPackageError where it is not installed."""
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from accelerate.utils import InitProcessGroupKwargs
    except ImportError as error:
        raise MissingPackageError('training needs the package accelerate: pip install "picscribe[train]"') from error
    if recipe.optimisation.precision == "float16" and not torch.cuda.is_available():
        raise ConfigurationError("optimisation.precision float16 needs a GPU: use bfloat16 or float32")
    # A second run in one process may compute in another type; accelerate would keep to the first one's.
    AcceleratorState._reset_state(reset_partial_state=False)
    waiting = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    accelerator = Accelerator(
        kwargs_handlers=[waiting],
        mixed_precision=PRECISIONS[precision_here(recipe.optimisation.precision)],
        cpu=not torch.cuda.is_available(),
        project_dir=str(output),
        log_with=list(recipe.trackers) or None,
    )
    if missing := set(recipe.trackers) - {str(getattr(tracker, "value", tracker)) for tracker in accelerator.log_with}:
        name = sorted(missing)[0]
        raise MissingPackageError(f"trackers: {name} is not installed: pip install {name}, or leave it out")
    return accelerator


def load_start(recipe: Recipe, data: Data) -> Checkpoint:
    """The checkpoint to start from, or a new one, its weights trained or frozen as the recipe says.

    For videos it has temporal embeddings; where it came without them as many as `image.frames`, or the paper's.
    """
    if recipe.image.frames and not data.has_videos:
        raise ConfigurationError("image.frames is for videos, and the data are photos: leave it out")
    start = from_imagenet(recipe, data) if recipe.start == IMAGENET else checkpoints.load(recipe.start)
    if start.is_int8:
        raise ConfigurationError(f"{recipe.start} holds int8 weights, which cannot be trained: start from the original")
    model, settings = start.model, recipe.weights
    _require_places(recipe, data, start)
    frames, had_frames = recipe.image.frames, model.config.frames
    if data.has_videos and not had_frames:
        frames = frames or FRAMES
    if frames and not had_frames:
        model.config = replace(model.config, frames=frames)
        model.temporal_embedding = nn.Parameter(torch.zeros(frames, model.config.image_encoder.width))
    elif frames and frames != had_frames:
        raise ConfigurationError(f"image.frames is {frames}, but {recipe.start} has {had_frames}: leave it out")
    if len(recipe.image.sizes) == 1:
        start = replace(start, preprocessing=replace(start.preprocessing, size=recipe.image.sizes[0]))
    # Weights mapped from a file would be written to where they are trained.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    learn_depthwise_fast(model)
    choose_weights(model, settings)
    if model.temporal_embedding is not None:
        if not data.has_videos:
            model.temporal_embedding.requires_grad_(False)  # takes no part, and several processes would wait for it
        elif not had_frames:
            model.temporal_embedding.requires_grad_(True)  # new, and without it no frame comes before another
    return start


def _require_places(recipe: Recipe, data: Data, start: Checkpoint) -> None:
    """Raise ConfigurationError where texts of the run would be longer than the decoder's positions."""
    asked = start.tokenizer.encode_batch(sorted({example.question for example in data.validation}))
    given = 1 + min(MAX_PROMPT, max(map(len, asked)))
    lengths = {
        "data.max_tokens": recipe.data.max_tokens + 2,
        "validation.max_new_tokens": recipe.validation.max_new_tokens + given,
    }
    if recipe.objective == "cider":
        lengths["self_critical.max_new_tokens"] = recipe.self_critical.max_new_tokens + 1
    positions = start.model.config.text_decoder.max_positions
    for name, length in lengths.items():
        if length > positions:
            raise ConfigurationError(
                f"texts of {length} tokens are more than the {positions} positions of {recipe.start}: lower {name}"
            )


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
                f"weights.frozen_blocks is {settings.frozen_blocks}, but the image encoder has {blocks}"
            )
        freeze_lowest(model, settings.frozen_blocks)
    if settings.frozen_depthwise:
        if isinstance(model.image_encoder, ClipVit):
            raise ConfigurationError("weights.frozen_depthwise is for EfficientNet-Lite, not for a ViT: leave it out")
        for module in model.image_encoder.modules():
            if isinstance(module, InvertedResidual):
                module.depthwise.requires_grad_(False)

"""Caption the validation split with the model in training, from its frozen features."""

import torch

from picscribe.generation import Wording, generate
from picscribe.model import Git
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.recipe import Recipe
from picscribe.training.views import FrozenFeatures


def caption_features(
    model: Git, tokenizer: Tokenizer, features: FrozenFeatures, recipe: Recipe, precision: torch.dtype
) -> dict[str, str]:
    """A caption for every image whose lower features stand in `features`, by image id."""
    options, batch = recipe.generation_options(), recipe.evaluation.batch_images
    captions: dict[str, str] = {}
    device = next(model.parameters()).device
    for start in range(0, len(features.images), batch):
        images = features.images[start : start + batch]
        with torch.inference_mode(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
            lower = features.read(0, range(start, start + len(images))).to(device, precision)
            visual = model.image_encoder.upper(lower, features.blocks)
            prefix = model.prefix_of(visual)
            wording = Wording(tokenizer.never_written)
            found = generate(model, prefix, [[[tokenizer.cls_id]]] * len(images), options, wording)
        for image, of_image in zip(images, found, strict=True):
            best = of_image[0]
            captions[image.id] = tokenizer.decode(best[0].tokens) if best else ""
    return captions

"""What a run would do, without doing it: data, weights, steps, memory, and a batch read back as text."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from picscribe.model import Git
from picscribe.text.prompts import TrainingExample
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.loop import Trainer
from picscribe.training.recipe import IMAGENET, Recipe
from picscribe.training.recipe_file import dump_recipe
from picscribe.training.run.progress import list_warnings
from picscribe.training.run.run_folder import RunFolder
from picscribe.training.setup.optimiser import count_trained_parameters

FLOAT = 4
SAVED = 16
"""Numbers kept for the gradient, a token and layer, in widths: what attention and MLP take in and put out."""
RUNTIME = 2**28
"""Bytes that Python, torch and accelerate take before there is a model: 0.24 GiB on a CPU."""
FIRST_BATCH = "the first batch, what the loss counts in «marks»:"


def preview(recipe: Recipe, output: Path) -> str:
    """The recipe with every setting, what it comes to, and the first batch with what the loss counts in «marks».

    Raises whatever would stop the run before its first step.
    """
    RunFolder(output).require_free()
    return "\n".join([dump_recipe(recipe).rstrip(), "", *_describe(recipe, output)])


def _describe(recipe: Recipe, output: Path) -> Iterator[str]:
    trainer = Trainer(recipe, output, print)
    data, weights, optimisation = trainer.data, recipe.weights, recipe.optimisation
    images = sum(len(part.images) for part in data.parts)
    yield f"data: {images:,} images, {data.epoch_size():,} an epoch; {len(data.validation):,} examples to validate on"
    yield from list_warnings(data, trainer.start.tokenizer, recipe)
    if recipe.start == IMAGENET:
        yield f"vocabulary: {trainer.start.tokenizer.vocabulary_size:,} words and pieces, of the training texts"
    yield _describe_weights(trainer.start.model)
    yield f"steps: {trainer.total:,}, {trainer.schedule.steps_an_epoch:,} an epoch"
    encoder = trainer.start.model.config.image_encoder
    size = max(recipe.image.sizes or (trainer.start.preprocessing.size,))
    tokens = dataclasses.replace(encoder, image_size=size).tokens * max(1, trainer.start.model.config.frames)
    passed = weights.train == "all" or (weights.train == "lora" and weights.lora_in == "all")
    yield _estimate_memory(
        trainer.start.model,
        images=optimisation.batch_images / optimisation.accumulate / trainer.accelerator.num_processes,
        image_tokens=tokens,
        text_tokens=recipe.data.texts_an_image * recipe.data.max_tokens / 2,
        encoder_layers=len(trainer.start.model.image_encoder.blocks) - weights.frozen_blocks if passed else 0,
        averaged=bool(optimisation.ema_decay),
        computed_again=weights.activation_checkpointing,
    )
    if (kept := trainer.reader.kept) is not None:
        yield _describe_views(kept.views, kept.features.bytes_a_view(), kept.features.folder)
    else:
        step = (
            FLOAT
            * optimisation.batch_images
            / trainer.accelerator.num_processes
            * max(1, trainer.reader.frames)
            * 3
            * size**2
        )
        yield f"photos in memory: at most {step * trainer.reader.count_steps_in_memory() / 2**30:.1f} GiB a process"
    yield FIRST_BATCH
    trainer.reader.kept = None  # which would take as long as an epoch
    batch = trainer.reader.read_batch(0)
    yield from (f"  {problem}" for _, problem in batch.skipped)
    for one in batch.micro_batches:
        for image, texts in zip(one.images, one.texts, strict=True):
            yield from (f"  {image.id}: {_mark_predicted(trainer.start.tokenizer, text)}" for text in texts)


def _describe_weights(model: Git) -> str:
    parameters, trained = count_trained_parameters(model)
    return f"weights: {parameters:,}, of which {trained:,} are trained"


def _describe_views(views: int, size: int, folder: Path) -> str:
    return f"features of {views} views: {views * size / 2**20:,.0f} MiB in {folder}"


def _mark_predicted(tokenizer: Tokenizer, text: TrainingExample) -> str:
    words = [tokenizer.vocabulary[token] for token in text.tokens]
    return " ".join(f"«{word}»" if counts else word for word, counts in zip(words, text.predict, strict=True))


def _estimate_memory(
    model: Git,
    *,
    images: float,
    image_tokens: int,
    text_tokens: float,
    encoder_layers: int,
    averaged: bool,
    computed_again: bool,
) -> str:
    """Torch itself, weights, gradients, AdamW's two averages, the moving average, and what is kept for the gradient."""
    encoder, decoder = model.config.image_encoder, model.config.text_decoder
    parameters, trained = count_trained_parameters(model)
    kept = image_tokens * encoder_layers * encoder.width + (image_tokens + text_tokens) * decoder.layers * decoder.width
    kept *= 1 if computed_again else SAVED
    logits = 3 * text_tokens * decoder.vocabulary_size
    numbers = parameters + (parameters if averaged else 0) + 3 * trained + images * (kept + logits)
    return f"memory: about {(RUNTIME + FLOAT * numbers) / 2**30:.1f} GiB a process"

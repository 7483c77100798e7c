"""What a run would do, without doing it: data, weights, steps, memory, and a batch read back as text."""

import dataclasses
from pathlib import Path

from picscribe.training.fine_tuning import FineTuner
from picscribe.training.fine_tuning_recipe import FineTuningRecipe
from picscribe.training.recipe import dump_recipe
from picscribe.training.run_folder import RunFolder

FLOAT = 4
SAVED = 16
"""Numbers kept for the gradient, a token and layer, in widths: what attention and MLP take in and put out."""


def preview(recipe: FineTuningRecipe, output: Path) -> str:
    """The recipe with every setting, what it comes to, and the first batch with what the loss counts in [brackets].

    Raises whatever would stop the run before its first step.
    """
    RunFolder(output).require_free()
    tuner = FineTuner(recipe, output, print)
    model, data = tuner.model, tuner.data
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    images = sum(len(part.items) for part in data.parts)
    lines = [
        dump_recipe(recipe).rstrip(),
        "",
        f"data: {images:,} images, {data.epoch_size():,} an epoch; {len(data.validation):,} examples to validate on",
        f"weights: {parameters:,}, of which {trained:,} are trained",
        f"steps: {tuner.total:,}, {tuner.reader.batches.steps_an_epoch:,} an epoch",
        f"memory: about {_memory(tuner, parameters, trained) / 2**30:.1f} GiB a process",
        *_kept(tuner),
        "the first batch, what the loss counts in [brackets]:",
    ]
    tuner.reader.kept = None  # which would take as long as an epoch
    prepared = tuner.reader.prepare(0)
    lines += [f"  {name}: {problem}" for name, problem in prepared.skipped]
    for part in prepared.parts:
        for item, texts in zip(part.items, part.texts, strict=True):
            lines += [f"  {item.id}: {_shown(tuner, text)}" for text in texts]
    return "\n".join(lines)


def _kept(tuner: FineTuner) -> list[str]:
    kept = tuner.reader.kept
    if kept is None:
        return []
    size = kept.views * kept.bytes_a_view() / 2**20
    return [f"features of {kept.views} views: {size:,.0f} MiB in {kept.features.folder}"]


def _shown(tuner: FineTuner, text: object) -> str:
    words = []
    tokens, predict = dataclasses.astuple(text)  # type: ignore[call-overload]
    for token, counts in zip(tokens, predict, strict=True):
        word = tuner.start.tokenizer.vocabulary[token]
        words.append(f"[{word}]" if counts else word)
    return " ".join(words)


def _memory(tuner: FineTuner, parameters: int, trained: int) -> float:
    """Bytes: weights, gradients, AdamW's two averages, the moving average, and what is kept for the gradient."""
    recipe, config = tuner.recipe, tuner.model.config
    images = recipe.optimisation.batch_images / recipe.optimisation.accumulate / tuner.processes
    encoder, decoder = config.image_encoder, config.text_decoder
    size = max(recipe.image.sizes or (tuner.start.preprocessing.size,))
    tokens = dataclasses.replace(encoder, image_size=size).tokens * max(1, tuner.model.config.frames)
    layers = getattr(encoder, "layers", 16)
    text = recipe.data.texts_an_image * recipe.data.max_tokens / 2
    weights = recipe.weights
    passed = weights.train == "all" or (weights.train == "lora" and weights.lora_in == "all")
    kept: float = tokens * (layers if passed else 0) * encoder.width
    kept += (tokens + text) * decoder.layers * decoder.width
    if recipe.weights.activation_checkpointing:
        kept /= SAVED
    logits = 3 * text * decoder.vocabulary_size
    averages = parameters if recipe.optimisation.ema_decay else 0
    return FLOAT * (parameters + averages + 3 * trained + images * (SAVED * kept + logits))

"""What a run prints: what it begins with, how fast it learns, and how it ended."""

import math
import shlex
import time
from collections.abc import Iterator, Sequence

from picscribe.model import Git
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.data.mixture import TrainingData
from picscribe.training.recipe import Recipe
from picscribe.training.run.run_folder import RunFolder
from picscribe.training.setup.optimiser import count_trained_parameters

SEEN, LITTLE = 2000, 0.01
"""How many images' texts are searched for unknown words, and the share of unknown words that needs no warning."""
MOST_SECONDS = 60.0
"""Between two lines, where steps are slow."""


class Progress:
    """Counts images since it last told: of the last steps alone, as the first of a view takes as long as an epoch."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._since, self._seen, self._steps = time.monotonic(), 0, 0

    def add(self, images: int) -> None:
        """Count a step's images."""
        self._seen += images
        self._steps += 1

    def is_due(self) -> bool:
        """Whether enough steps or time have passed since the last line."""
        return self._steps >= self.every or (self._steps > 0 and time.monotonic() - self._since >= MOST_SECONDS)

    def report(self, name: str, values: Sequence[float], learning_rate: float, images_left: int) -> dict[str, float]:
        """What to say of the steps since the last line; `values`, of which the latest are theirs, have this `name`."""
        seconds = max(1e-9, time.monotonic() - self._since)
        recent = values[-self._steps :] or [math.nan]
        rate = self._seen / seconds
        self._since, self._seen, self._steps = time.monotonic(), 0, 0
        left = images_left / rate / 60 if rate else math.nan
        return {
            name: sum(recent) / len(recent),
            "learning rate": learning_rate,
            "images a second": rate,
            "minutes left": left,
        }


def format_line(told: dict[str, float]) -> str:
    """What `Progress.report` says, as a line."""
    name, value = next(iter(told.items()))
    return (
        f"{name} {value:.4f}  learning rate {told['learning rate']:.3g}  {told['images a second']:.1f} images a "
        f"second  {told['minutes left']:.0f} min left"
    )


def describe_beginning(
    model: Git, data: TrainingData, steps: int, tokenizer: Tokenizer, recipe: Recipe
) -> Iterator[str]:
    """What a run says before its first step."""
    parameters, trained = count_trained_parameters(model)
    seen = f"videos an epoch, {model.config.frames} frames of each" if data.has_videos else "images an epoch"
    yield (
        f"{data.epoch_size():,} {seen}, {len(data.validation):,} examples to validate on, "
        f"{parameters:,} parameters, {trained:,} trained, {steps:,} steps"
    )
    yield from list_warnings(data, tokenizer, recipe)


def describe_end(data: TrainingData, folder: RunFolder) -> str:
    """What a run says at its end: where the best checkpoint is, and what to type to use it, and to score it again."""
    commands = {"questions": 'ask PHOTO "QUESTION"', "labels": "classify PHOTO --labels LABELS"}
    command, best = commands.get(data.task, "caption PHOTO"), shlex.quote(str(folder.best))
    said = f"the best checkpoint is in {folder.best}: picscribe {command} --model {best}"
    if data.held_out is None:
        return said
    scored = shlex.join([str(folder.held_out), "--images", str(data.held_out)])
    return f"{said}\nscores of what it did not learn from: picscribe evaluate {best} {scored} --output SCORES"


def list_warnings(data: TrainingData, tokenizer: Tokenizer, recipe: Recipe) -> Iterator[str]:
    """Warnings of data that will not be learned as one would expect; of a part, the texts of `SEEN` images are read."""
    yield from (f"warning: {note}" for note in data.notes)
    if both := data.count_learned_and_validated():
        yield f"warning: {both:,} of the examples to validate on are about photos that are learned from too"
    texts = [pair for part in data.parts for image in part.images[:SEEN] for pair in image.texts]
    given, learned = (tokenizer.encode_batch([pair[place] for pair in texts]) for place in (0, 1))
    unknown = sum(ids.count(tokenizer.unk_id) for ids in learned) / max(1, sum(map(len, learned)))
    if unknown > LITTLE:
        yield (
            f"warning: {unknown:.0%} of the words to learn are not in the vocabulary of {recipe.start}, and are "
            "learned as [UNK], which is never written"
        )
    most = recipe.data.max_tokens
    if cut := sum(len(question) + len(text) > most for question, text in zip(given, learned, strict=True)):
        yield f"warning: {cut:,} of {len(texts):,} texts are longer than data.max_tokens, {most}, and are cut"

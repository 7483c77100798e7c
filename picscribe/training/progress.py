"""What a run says of itself: what it begins with, how fast it learns, and when it is time to say so."""

import math
import time
from collections.abc import Iterator, Sequence

from picscribe.model import Git
from picscribe.training.mixture import Data
from picscribe.training.parameter_groups import count_parameters

MOST_SECONDS = 60.0
"""Between two lines, where steps are slow."""


class Progress:
    """Counts images since it last told: of the last steps alone, as the first of a view takes as long as an epoch."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._since, self._seen, self._steps = time.monotonic(), 0, 0

    def add(self, images: int) -> None:
        """A step has learned from so many."""
        self._seen += images
        self._steps += 1

    def is_due(self) -> bool:
        """Whether enough steps or time have passed since the last line."""
        return self._steps >= self.every or (self._steps > 0 and time.monotonic() - self._since >= MOST_SECONDS)

    def tell(self, name: str, values: Sequence[float], learning_rate: float, images_left: int) -> dict[str, float]:
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


def line_of(told: dict[str, float]) -> str:
    """What `Progress.tell` says, as a line."""
    name, value = next(iter(told.items()))
    return (
        f"{name} {value:.4f}  learning rate {told['learning rate']:.3g}  {told['images a second']:.1f} images a "
        f"second  {told['minutes left']:.0f} min left"
    )


def what_begins(model: Git, data: Data, steps: int) -> Iterator[str]:
    """What a run says before its first step."""
    parameters, trained = count_parameters(model)
    seen = f"videos an epoch, {model.config.frames} frames of each" if data.has_videos else "images an epoch"
    yield (
        f"{data.epoch_size():,} {seen}, {len(data.validation):,} examples to validate on, "
        f"{parameters:,} parameters, {trained:,} trained, {steps:,} steps"
    )
    if both := data.learned_and_validated():
        yield f"warning: {both:,} of the examples to validate on are about photos that are learned from too"

"""What the frozen part of an image encoder makes of each photo, in so many views, computed once a view."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from picscribe.checkpoints import Checkpoint
from picscribe.errors import ConfigurationError, InputError
from picscribe.training.data.annotated_images import Item
from picscribe.training.data.augmentation import View, draw_square, draw_view
from picscribe.training.data.frozen_features import FrozenFeatures
from picscribe.training.data.mixture import Data
from picscribe.training.data.shards import ShardItems
from picscribe.training.recipe import Recipe
from picscribe.training.run.stopping import Stopped

REPORT_EVERY = 1600


class KeptViews:
    """Features of a run's photos under the `blocks` that do not learn; a view is computed when first needed."""

    def __init__(
        self, recipe: Recipe, start: Checkpoint, data: Data, folder: Path, report: Callable[[str], None]
    ) -> None:
        """Raises ConfigurationError for data whose views cannot be kept."""
        if data.has_videos or any(isinstance(part.items, ShardItems) for part in data.parts):
            raise ConfigurationError("image.views is for photos that are not streamed: leave it out")
        items = [item for part in data.parts for item in part.items]
        self.numbers = {id(item): number for number, item in enumerate(items)}
        self.views, self.report = recipe.image.views, report
        encoder = start.model.image_encoder
        self.blocks = recipe.weights.frozen_blocks or len(encoder.blocks)
        self.features = FrozenFeatures(
            encoder,
            self.blocks,
            [replace(item.example, texts=tuple(text for pair in item.texts for text in pair)) for item in items],
            replace(start.preprocessing, mode="square", longer_edge=None),
            recipe.image.augmentation,
            recipe.seed,
            folder,
            view_of(start),
            skips_unreadable=True,
        )

    def prepare(self, epoch: int, stopping: Callable[[], bool]) -> None:
        """Have the view of an epoch, which takes minutes where it is new. Raises Stopped where `stopping` says so."""
        total = len(self.numbers)

        def progress(done: int) -> None:
            if stopping():
                raise Stopped
            if done % REPORT_EVERY == 0 or done == total:
                self.report(f"view {epoch % self.views + 1} of {self.views}: {done:,} of {total:,} photos seen")

        self.features.prepare(epoch % self.views, progress)

    def require(self, item: Item, epoch: int) -> None:
        """Raises InputError for a photo that could not be read, saying why."""
        view, number = epoch % self.views, self.numbers[id(item)]
        if self.features.is_unreadable(number, view):
            raise InputError(self.features.problem(number, view))

    def read(self, items: Sequence[Item], epoch: int) -> Tensor:
        """Features of photos of a prepared epoch, (n, …)."""
        return self.features.read(epoch % self.views, [self.numbers[id(item)] for item in items])


def keep_views(
    recipe: Recipe, start: Checkpoint, data: Data, processes: int, run: Path, report: Callable[[str], None]
) -> KeptViews | None:
    """What frozen blocks make of the photos, where the recipe has that kept; ConfigurationError where it cannot be."""
    image = recipe.image
    if not image.views:
        return None
    if processes > 1:
        raise ConfigurationError("image.views is for one process: leave it out")
    folder = Path(image.features) if image.features else run / "features"
    return KeptViews(recipe, start, data, folder, report)


def view_of(start: Checkpoint) -> View:
    """How a checkpoint's photos are cropped: whatever their aspect, or square."""
    return draw_view if start.preprocessing.mode == "square" else draw_square

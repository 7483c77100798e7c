"""What a run learns from: the images of several data sets, in batches whose order step and seed decide."""

import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from picscribe.datasets import Example
from picscribe.datasets.fingerprint import hash_examples
from picscribe.training.data.annotated_images import AnnotatedImage
from picscribe.training.data.shards import ShardedImages
from picscribe.training.recipe import OptimisationSettings


@dataclass(frozen=True)
class MixturePart:
    """One data set of a mixture, and how many times an epoch goes over it."""

    images: Sequence[AnnotatedImage]
    weight: float

    @property
    def size(self) -> int:
        """Images an epoch."""
        return max(1, round(self.weight * len(self.images)))

    @property
    def is_streamed(self) -> bool:
        """Whether its images are read from tars while the run learns."""
        return isinstance(self.images, ShardedImages)


@dataclass(frozen=True)
class TrainingData:
    """A run's data: the mixture it learns from and the examples it is validated on."""

    parts: tuple[MixturePart, ...]
    validation: tuple[Example, ...]
    task: str
    form: str
    has_videos: bool
    folders: tuple[Path, ...] = ()
    """Those in which every file is taken for data."""
    held_out: Path | None = None
    """The folder of the photos held out for validation; None where validation data were named, or files pack them."""
    notes: tuple[str, ...] = ()
    """What the data sets say of themselves."""

    def epoch_size(self) -> int:
        """Images an epoch."""
        return sum(part.size for part in self.parts)

    def draw_epoch(self, seed: int, epoch: int) -> np.ndarray:
        """The order of an epoch, (images, 3): of which part, which image, and in which pass over the part, from 0.

        Parts are mixed at random, each in its own order; one of weight 0.5 gives another half each epoch.
        """
        order = np.empty((self.epoch_size(), 3), np.int64)
        order[:, 0] = np.repeat(np.arange(len(self.parts)), [part.size for part in self.parts])
        _generator(f"{seed}/{epoch}").shuffle(order[:, 0])
        for number, part in enumerate(self.parts):
            order[order[:, 0] == number, 1:] = _draw_part(part, number, seed, epoch)
        return order

    def image(self, part: int, index: int) -> AnnotatedImage:
        """An image by the numbers that `draw_epoch` gives."""
        return self.parts[part].images[index]

    def images(self) -> Iterator[AnnotatedImage]:
        """Every image, those of streamed parts too."""
        return (image for part in self.parts for image in part.images)

    def images_in_memory(self) -> Iterator[AnnotatedImage]:
        """The images of the parts that are not streamed."""
        return (image for part in self.parts if not part.is_streamed for image in part.images)

    def has_streams(self) -> bool:
        """Whether any part is read from tars while the run learns."""
        return any(part.is_streamed for part in self.parts)

    def unusable(self) -> dict[str, str]:
        """Samples of tars that cannot be used and are left out, and why."""
        shards = [part.images for part in self.parts if isinstance(part.images, ShardedImages)]
        return {place: problem for images in shards for place, problem in images.unusable.items()}

    def count_learned_and_validated(self) -> int:
        """Validation examples about photos that are learned from too; photos in streamed tars are not known as such."""
        learned = {image.example.source for image in self.images_in_memory()}
        return sum(example.source in learned for example in self.validation)

    def fingerprint(self) -> str:
        """What tells these data from others: a hash of ids, texts, and names and sizes of files."""
        digest = hashlib.sha256(hash_examples(self.validation).encode())
        for part in self.parts:
            if isinstance(part.images, ShardedImages):
                digest.update(part.images.digest.encode())
            else:
                digest.update(hash_examples([image.flat_example() for image in part.images]).encode())
        return digest.hexdigest()


def draw_order(images: Sequence[AnnotatedImage], key: str) -> np.ndarray:
    """A permutation that the key decides."""
    draw = _generator(key)
    return images.draw_order(draw) if isinstance(images, ShardedImages) else draw.permutation(len(images))


def _draw_part(part: MixturePart, number: int, seed: int, epoch: int) -> np.ndarray:
    """What an epoch takes of a part, from where the last one stopped, pass after pass: (images, 2), image and pass."""
    length, start = len(part.images), epoch * part.size
    turns = range(start // length, (start + part.size - 1) // length + 1)
    passes = np.concatenate([draw_order(part.images, f"{seed}/{number}/{turn}") for turn in turns])
    numbers = np.repeat(np.arange(len(turns)), length)
    return np.stack([passes, numbers], axis=1)[start % length :][: part.size]


def _generator(key: str) -> np.random.Generator:
    return np.random.default_rng(random.Random(key).getrandbits(64))


@dataclass(frozen=True)
class DrawnImage:
    """An image of a step's batch.

    image_pass: a key for whatever is drawn of the image, such as its view: an epoch that comes to an image twice, its
    data set of a weight above 1, must not see it the same way again.
    """

    image: AnnotatedImage
    image_pass: str


class BatchSchedule:
    """Which images each step learns from: `batch_images` of them over all processes, of which each takes its share.

    An epoch's last batch is as small as what is left, and dropped where that is fewer than there are shares: every
    process takes part in every step.
    """

    def __init__(self, data: TrainingData, seed: int, batch_images: int, shares: int) -> None:
        self.data, self.seed, self.batch_images = data, seed, batch_images
        whole, rest = divmod(data.epoch_size(), batch_images)
        self.steps_an_epoch = max(1, whole + (rest >= shares))

    def count_steps(self, settings: OptimisationSettings) -> int:
        """How long a run is, in steps."""
        return settings.steps or math.ceil(settings.epochs * self.steps_an_epoch)

    def epoch_of(self, step: int) -> int:
        """The epoch of a step, from 0 on."""
        return step // self.steps_an_epoch

    @lru_cache(maxsize=4)  # noqa: B019 - lives as long as the run; a step's parts ask one after the other
    def images_of(self, step: int) -> list[DrawnImage]:
        """The images of a step's batch."""
        epoch, place = divmod(step, self.steps_an_epoch)
        chosen = self._order_of(epoch)[place * self.batch_images : (place + 1) * self.batch_images].tolist()
        return [
            DrawnImage(self.data.image(part, index), f"{epoch}/{again}" if again else f"{epoch}")
            for part, index, again in chosen
        ]

    @lru_cache(maxsize=2)  # noqa: B019 - as above
    def _order_of(self, epoch: int) -> np.ndarray:
        return self.data.draw_epoch(self.seed, epoch)

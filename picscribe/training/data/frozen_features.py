"""Features of random views of every image under the frozen blocks of an image encoder, computed once, kept on disk.

Training only what comes after leaves the frozen blocks' output of a view unchanged, so a run draws a fixed number of
views an image, pays for the frozen blocks once a view, and then reads a few tens of kilobytes instead of a photo.
"""

import hashlib
import json
import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.batches import READERS
from picscribe.checkpoints import Checkpoint
from picscribe.datasets import Example
from picscribe.datasets.fingerprint import hash_examples
from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.media.images import open_image
from picscribe.media.preprocessing import Preprocessing
from picscribe.model.clip_vit import ClipVit
from picscribe.model.git import ImageEncoder
from picscribe.training.data.annotated_images import AnnotatedImage
from picscribe.training.data.augmentation import View, choose_view, draw_view, may_mirror
from picscribe.training.data.mixture import TrainingData
from picscribe.training.recipe import Augmentation, Recipe

BATCH = 32
REPORT_EVERY = 1600
"""Photos between two lines of a view's progress."""


def list_frozen_parameters(encoder: nn.Module, blocks: int) -> Iterator[nn.Parameter]:
    """The parameters of an image encoder's first `blocks` blocks, and of what comes before them."""
    after = ("post_norm",) if isinstance(encoder, ClipVit) else ("head", "position_embedding")
    for name, parameter in encoder.named_parameters():
        part, number, *_ = [*name.split("."), ""]
        if int(number) < blocks if part == "blocks" else part not in after:
            yield parameter


class FrozenFeatures:
    """Features of N images in each of several views, bfloat16, one file a view.

    An image's are (C, rows, columns) of EfficientNet-Lite, (I, D) of a ViT; nan where it could not be read.
    """

    def __init__(
        self,
        *,
        encoder: ImageEncoder,
        blocks: int,
        images: Sequence[Example],
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        seed: int,
        folder: Path,
        draw: View = draw_view,
    ) -> None:
        self.encoder, self.blocks, self.images = encoder, blocks, images
        self.preprocessing, self.augmentation, self.seed = preprocessing, augmentation, seed
        self.folder, self.draw = folder, draw
        self.device = next(encoder.parameters()).device
        self.views: dict[int, np.memmap] = {}
        with torch.inference_mode():
            nothing = torch.zeros(1, 3, preprocessing.size, preprocessing.size, device=self.device)
            self.shape = tuple(encoder.encode_until(blocks, nothing).shape[1:])
        self.key = self._make_key()

    def _make_key(self) -> str:
        """Everything the features depend on, as a hash: another recipe never reads these files."""
        weights = hashlib.sha256()
        for parameter in list_frozen_parameters(self.encoder, self.blocks):
            weights.update(parameter.detach().cpu().numpy().tobytes())
        # Views are drawn from photos that are decoded whole.
        preprocessing = {name: value for name, value in asdict(self.preprocessing).items() if name != "detail"}
        settings = {
            "weights": weights.hexdigest(),
            "blocks": self.blocks,
            "preprocessing": preprocessing,
            "augmentation": asdict(self.augmentation),
            "draw": self.draw.__name__,
            "seed": self.seed,
            # Other texts about the same photos share their views, except texts that say whether to mirror.
            "images": hash_examples([Example(e.id, e.source, (str(may_mirror(e.texts)),)) for e in self.images]),
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def read_pixels(self, index: int, view: int) -> Tensor:
        """A view of an image, (3, size, size). Raises InputError where it cannot be read."""
        example = self.images[index]
        draw = random.Random(f"{self.seed}/{example.id}/{view}")
        image = open_image(example.image())
        size, can_mirror = self.preprocessing.size, may_mirror(example.texts)
        return self.preprocessing(self.draw(image, size, self.augmentation, draw, can_mirror))

    def prepare(self, view: int, progress: Callable[[int], None] = lambda images: None) -> None:
        """Compute the features of one view unless they are there; the file appears whole or not at all."""
        if view in self.views:
            return
        path = self.folder / f"{self.key}-{view}.bf16"
        shape = (len(self.images), *_channels_last(torch.empty(1, *self.shape, device="meta")).shape[1:])
        size = math.prod(shape) * np.dtype(np.int16).itemsize
        if not path.exists() or path.stat().st_size != size:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            try:
                _allocate(partial, size)
                self._compute(view, np.memmap(partial, dtype=np.int16, mode="r+", shape=shape), progress)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        self.views[view] = np.memmap(path, dtype=np.int16, mode="r", shape=shape)

    def _compute(self, view: int, features: np.memmap, progress: Callable[[int], None]) -> None:
        done = 0
        fast = self.device.type != "cpu" or multiplies_bfloat16()
        blank = torch.zeros(3, self.preprocessing.size, self.preprocessing.size)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=fast):
            for batch in self._read_batches(view):
                pixels = torch.stack([blank if one is None else one for one in batch])
                computed = _channels_last(self.encoder.encode_until(self.blocks, pixels.to(self.device))).contiguous()
                self._require_finite(computed)
                computed[[number for number, one in enumerate(batch) if one is None]] = math.nan
                features[done : done + len(batch)] = computed.to(torch.bfloat16).cpu().view(torch.int16).numpy()
                done += len(batch)
                progress(done)
        features.flush()

    def _require_finite(self, computed: Tensor) -> None:
        """Raise PicscribeError for features that would be taken for those of images that cannot be read."""
        if not bool(computed.isfinite().all()):
            raise PicscribeError(
                f"the {self.blocks} frozen blocks of the image encoder give numbers that are not finite: the "
                "checkpoint's weights are damaged; start from another one"
            )

    def _read_batches(self, view: int) -> Iterator[list[Tensor | None]]:
        """Pixels of all images, two batches ahead; None for one that cannot be read."""

        def read(index: int) -> Tensor | None:
            try:
                return self.read_pixels(index, view)
            except PicscribeError:
                return None

        with ThreadPoolExecutor(READERS) as readers:
            pending = []
            starts = range(0, len(self.images), BATCH)
            for start in [*starts, None, None]:
                if start is not None:
                    span = range(start, min(start + BATCH, len(self.images)))
                    pending.append([readers.submit(read, index) for index in span])
                if pending and (start is None or len(pending) > 2):
                    yield [future.result() for future in pending.pop(0)]

    def bytes_a_view(self) -> int:
        """Room that a view takes on the disk."""
        return 2 * len(self.images) * math.prod(self.shape)  # bfloat16

    def is_unreadable(self, index: int, view: int) -> bool:
        """Whether this image could not be read for a prepared view."""
        first = self.views[view][index].reshape(-1)[:1]
        return bool(torch.from_numpy(first.copy()).view(torch.bfloat16).isnan())

    def explain_unreadable(self, index: int, view: int) -> str:
        """Why an image could not be read for a prepared view."""
        try:
            self.read_pixels(index, view)
        except PicscribeError as error:
            return str(error)
        return f"could not be read when its features were computed, and can be now: delete {self.folder} to learn it"

    def read(self, view: int, indices: Sequence[int]) -> Tensor:
        """Features of some images of a prepared view: (n, *shape) bfloat16, channels last in memory."""
        stored = torch.from_numpy(self.views[view][np.asarray(indices, np.int64)]).view(torch.bfloat16)
        return stored.permute(0, 3, 1, 2) if stored.dim() == 4 else stored


class KeptViews:
    """The frozen features of a run's images, each epoch's in the next of `image.views` views."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        start: Checkpoint,
        data: TrainingData,
        folder: Path,
        report: Callable[[str], None],
        processes: int = 1,
    ) -> None:
        """Raises ConfigurationError for data, or processes, whose features cannot be kept."""
        if processes > 1:
            raise ConfigurationError("image.views works in one process only: leave it out")
        if data.has_videos or data.has_streams():
            raise ConfigurationError("image.views does not work with streamed photos: leave it out")
        images = list(data.images())
        self.numbers = {id(image): number for number, image in enumerate(images)}
        self.views, self.report = recipe.image.views, report
        encoder = start.model.image_encoder
        self.features = FrozenFeatures(
            encoder=encoder,
            blocks=recipe.weights.frozen_blocks or len(encoder.blocks),
            images=[image.flat_example() for image in images],
            preprocessing=replace(start.preprocessing, mode="square", longer_edge=None),
            augmentation=recipe.image.augmentation,
            seed=recipe.seed,
            folder=folder,
            draw=choose_view(start.preprocessing),
        )

    def prepare(self, epoch: int, check: Callable[[], None]) -> None:
        """Compute an epoch's view unless it is there, which takes minutes; `check` is called meanwhile, may raise."""
        total = len(self.numbers)

        def progress(done: int) -> None:
            check()
            if done % REPORT_EVERY == 0 or done == total:
                self.report(f"view {epoch % self.views + 1} of {self.views}: {done:,} of {total:,} photos seen")

        self.features.prepare(epoch % self.views, progress)

    def require_readable(self, image: AnnotatedImage, epoch: int) -> None:
        """Raise InputError for a photo that could not be read, saying why."""
        view, number = epoch % self.views, self.numbers[id(image)]
        if self.features.is_unreadable(number, view):
            raise InputError(self.features.explain_unreadable(number, view))

    def read(self, images: Sequence[AnnotatedImage], epoch: int) -> Tensor:
        """Features of photos of a prepared epoch, (n, …)."""
        return self.features.read(epoch % self.views, [self.numbers[id(image)] for image in images])


def _allocate(file: Path, size: int) -> None:
    """A file of `size` bytes, its room taken: on a full disk, writing to mapped memory would end the process."""
    try:
        with file.open("wb") as stream:
            stream.truncate(size)
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(stream.fileno(), 0, size)
    except OSError as error:
        raise PicscribeError(
            f"{file.parent}: no room for a view's features, {size:,} bytes ({error.strerror})"
        ) from error


def _channels_last(features: Tensor) -> Tensor:
    """(n, C, rows, columns) → (n, rows, columns, C); (n, I, D) as it is."""
    return features.permute(0, 2, 3, 1) if features.dim() == 4 else features

"""Features of random views of every image under the frozen blocks of an image encoder, computed once, kept on disk.

Training only what comes after leaves the frozen blocks' output of a view unchanged, so a run draws a fixed number of
views an image, pays for the frozen blocks once a view, and then reads a few tens of kilobytes instead of a photo.
"""

import hashlib
import json
import math
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.datasets import Example
from picscribe.datasets.fingerprint import hash_examples
from picscribe.errors import PicscribeError
from picscribe.media.images import open_image
from picscribe.media.preprocessing import Preprocessing
from picscribe.media.reading import READERS
from picscribe.model.git import ImageEncoder
from picscribe.training.data.augmentation import Augmentation, View, draw_view
from picscribe.training.setup.parameter_groups import lowest_parameters

SIDED = re.compile(r"\b(left|right)\b", re.IGNORECASE)
BATCH = 32


def may_mirror(texts: Iterable[str]) -> bool:
    """Whether an image can be mirrored: not where a text names a side."""
    return not any(SIDED.search(text) for text in texts)


class FrozenFeatures:
    """Lower features of N images in each of several views, bfloat16, one file a view: (C, rows, columns) of
    EfficientNet-Lite, (I, D) of a ViT."""

    def __init__(
        self,
        encoder: ImageEncoder,
        blocks: int,
        images: Sequence[Example],
        preprocessing: Preprocessing,
        augmentation: Augmentation | None,
        seed: int,
        folder: Path,
        draw: View = draw_view,
        skips_unreadable: bool = False,
    ) -> None:
        """Without `augmentation` there is one view: the image as the checkpoint will see it in use.

        skips_unreadable: an image that cannot be read is not a number in every place, rather than an error.
        """
        self.encoder, self.blocks, self.images = encoder, blocks, images
        self.preprocessing, self.augmentation, self.seed = preprocessing, augmentation, seed
        self.folder, self.draw, self.skips_unreadable = folder, draw, skips_unreadable
        self.device = next(encoder.parameters()).device
        self.memory: dict[int, np.memmap] = {}
        with torch.inference_mode():
            nothing = torch.zeros(1, 3, preprocessing.size, preprocessing.size, device=self.device)
            self.shape = tuple(encoder.encode_until(blocks, nothing).shape[1:])
        self.key = self._key()

    def _key(self) -> str:
        """Everything the features depend on, as a hash: another recipe never reads these files."""
        weights = hashlib.sha256()
        for parameter in lowest_parameters(self.encoder, self.blocks):
            weights.update(parameter.detach().cpu().numpy().tobytes())
        settings = {
            "weights": weights.hexdigest(),
            "blocks": self.blocks,
            "preprocessing": asdict(self.preprocessing),
            "augmentation": asdict(self.augmentation) if self.augmentation else None,
            "draw": self.draw.__name__,
            "seed": self.seed,
            "images": hash_examples([self._seen(image) for image in self.images]),
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def _seen(self, image: Example) -> Example:
        """What of an example decides its views: other words about the same photos share them."""
        return Example(image.id, image.source, (str(may_mirror(image.texts)),) if self.augmentation else ())

    def pixels(self, index: int, view: int) -> Tensor:
        """A view of an image, (3, size, size). Raises InputError where it cannot be read."""
        example = self.images[index]
        image = open_image(example.image())
        if self.augmentation:
            draw = random.Random(f"{self.seed}/{example.id}/{view}")
            image = self.draw(image, self.preprocessing.size, self.augmentation, draw, may_mirror(example.texts))
        return self.preprocessing(image)

    def _pixels(self, index: int, view: int) -> Tensor | None:
        """None where the image cannot be read and is skipped."""
        try:
            return self.pixels(index, view)
        except PicscribeError:
            if not self.skips_unreadable:
                raise
            return None

    def _batches(self, view: int) -> Iterator[list[Tensor | None]]:
        with ThreadPoolExecutor(READERS) as readers:
            pending = []
            starts = range(0, len(self.images), BATCH)
            for start in starts[:2]:
                pending.append([readers.submit(self._pixels, i, view) for i in self._span(start)])
            for start in starts:
                batch = [future.result() for future in pending.pop(0)]
                if start + 2 * BATCH < len(self.images):
                    pending.append([readers.submit(self._pixels, i, view) for i in self._span(start + 2 * BATCH)])
                yield batch

    def _span(self, start: int) -> range:
        return range(start, min(start + BATCH, len(self.images)))

    def prepare(self, view: int, progress: Callable[[int], None] = lambda images: None) -> None:
        """Compute the features of one view unless they are there; the file appears whole or not at all."""
        if view in self.memory:
            return
        path = self.folder / f"{self.key}-{view}.bf16"
        shape = (len(self.images), *_channels_last(torch.empty(1, *self.shape, device="meta")).shape[1:])
        if not path.exists() or path.stat().st_size != math.prod(shape) * np.dtype(np.int16).itemsize:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            try:
                _allocate(partial, math.prod(shape) * np.dtype(np.int16).itemsize)
                self._compute(view, np.memmap(partial, dtype=np.int16, mode="r+", shape=shape), progress)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        self.memory[view] = np.memmap(path, dtype=np.int16, mode="r", shape=shape)

    def _compute(self, view: int, features: np.memmap, progress: Callable[[int], None]) -> None:
        done = 0
        fast = self.device.type != "cpu" or multiplies_bfloat16()
        size = self.preprocessing.size
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=fast):
            for batch in self._batches(view):
                pixels = torch.stack([torch.zeros(3, size, size) if one is None else one for one in batch])
                lower = _channels_last(self.encoder.encode_until(self.blocks, pixels.to(self.device))).contiguous()
                lower[[number for number, one in enumerate(batch) if one is None]] = math.nan
                features[done : done + len(batch)] = lower.to(torch.bfloat16).cpu().view(torch.int16).numpy()
                done += len(batch)
                progress(done)
        features.flush()

    def bytes_a_view(self) -> int:
        """Room that a view takes on the disk."""
        return 2 * len(self.images) * math.prod(self.shape)  # bfloat16

    def unreadable(self, view: int) -> list[int]:
        """The images of a prepared view that could not be read, and were skipped."""
        return [index for index in range(len(self.images)) if self.is_unreadable(index, view)]

    def is_unreadable(self, index: int, view: int) -> bool:
        """Whether this image could not be read for a prepared view."""
        first = self.memory[view][index].reshape(-1)[:1]
        return bool(torch.from_numpy(first.copy()).view(torch.bfloat16).isnan())

    def problem(self, index: int, view: int) -> str:
        """Why an image could not be read for a prepared view."""
        try:
            self.pixels(index, view)
        except PicscribeError as error:
            return str(error)
        return f"could not be read when its features were computed, and can be now: delete {self.folder} to learn it"

    def read(self, view: int, indices: Sequence[int]) -> Tensor:
        """Features of some images of a prepared view: (n, *shape) bfloat16, channels last in memory."""
        stored = torch.from_numpy(self.memory[view][np.asarray(indices, np.int64)]).view(torch.bfloat16)
        return stored.permute(0, 3, 1, 2) if stored.dim() == 4 else stored


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

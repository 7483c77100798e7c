"""Features of random views of every image under the frozen blocks of an image encoder, computed once, kept on disk.

Fine-tuning only the upper blocks leaves the lower ones' output of a view unchanged, so a run draws a fixed number of
views an image, pays for the lower blocks once a view, and then reads a few tens of kilobytes instead of a photo.
"""

import hashlib
import json
import math
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from picscribe.datasets import Example
from picscribe.datasets.fingerprint import hash_examples
from picscribe.media.images import open_image
from picscribe.media.preprocessing import Preprocessing
from picscribe.model.arithmetic import multiplies_bfloat16
from picscribe.model.efficientnet_lite import EfficientNetLite
from picscribe.training.augmentation import Augmentation, draw_view

SIDED = re.compile(r"\b(left|right)\b", re.IGNORECASE)
BATCH = 32
READERS = 2


class FrozenFeatures:
    """Lower features (C, rows, columns) of N images in each of several views, bfloat16, one file a view."""

    def __init__(
        self,
        encoder: EfficientNetLite,
        blocks: int,
        images: Sequence[Example],
        preprocessing: Preprocessing,
        augmentation: Augmentation | None,
        seed: int,
        folder: Path,
    ) -> None:
        """Without `augmentation` there is one view: the image as the checkpoint will see it in use."""
        self.encoder, self.blocks, self.images = encoder, blocks, images
        self.preprocessing, self.augmentation, self.seed = preprocessing, augmentation, seed
        self.folder = folder
        self.memory: dict[int, np.memmap] = {}
        with torch.inference_mode():
            self.shape = tuple(
                encoder.lower(torch.zeros(1, 3, preprocessing.size, preprocessing.size), blocks).shape[1:]
            )
        self.key = self._key()

    def _key(self) -> str:
        """Everything the features depend on, as a hash: another recipe never reads these files."""
        weights = hashlib.sha256()
        lower = [*self.encoder.stem.parameters()]
        lower += [p for b in self.encoder.blocks[: self.blocks] for p in b.parameters()]
        for parameter in lower:
            weights.update(parameter.detach().numpy().tobytes())
        settings = {
            "weights": weights.hexdigest(),
            "blocks": self.blocks,
            "preprocessing": asdict(self.preprocessing),
            "augmentation": asdict(self.augmentation) if self.augmentation else None,
            "seed": self.seed,
            "images": hash_examples(self.images),
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def _pixels(self, index: int, view: int) -> Tensor:
        example = self.images[index]
        image = open_image(example.image())
        if self.augmentation:
            draw = random.Random(f"{self.seed}/{example.id}/{view}")
            may_mirror = not any(SIDED.search(caption) for caption in example.texts)
            image = draw_view(image, self.preprocessing.size, self.augmentation, draw, may_mirror)
        return self.preprocessing(image)

    def _batches(self, view: int) -> Iterator[Tensor]:
        with ThreadPoolExecutor(READERS) as readers:
            pending = []
            starts = range(0, len(self.images), BATCH)
            for start in starts[:2]:
                pending.append([readers.submit(self._pixels, i, view) for i in self._span(start)])
            for start in starts:
                batch = torch.stack([future.result() for future in pending.pop(0)])
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
        channels, rows, columns = self.shape
        shape = (len(self.images), rows, columns, channels)
        if not path.exists() or path.stat().st_size != math.prod(shape) * np.dtype(np.int16).itemsize:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            try:
                self._compute(view, np.memmap(partial, dtype=np.int16, mode="w+", shape=shape), progress)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        self.memory[view] = np.memmap(path, dtype=np.int16, mode="r", shape=shape)

    def _compute(self, view: int, features: np.memmap, progress: Callable[[int], None]) -> None:
        done = 0
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16()):
            for batch in self._batches(view):
                lower = self.encoder.lower(batch, self.blocks).permute(0, 2, 3, 1).contiguous()
                features[done : done + len(batch)] = lower.to(torch.bfloat16).view(torch.int16).numpy()
                done += len(batch)
                progress(done)
        features.flush()

    def read(self, view: int, indices: Sequence[int]) -> Tensor:
        """Features of some images of a prepared view: (n, C, rows, columns) bfloat16, channels last in memory."""
        stored = torch.from_numpy(self.memory[view][np.asarray(indices)]).view(torch.bfloat16)
        return stored.permute(0, 3, 1, 2)

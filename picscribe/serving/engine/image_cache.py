"""What was computed for images before, kept by the images' content up to a number of bytes."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Tensor

Kept = TypeVar("Kept")


class ByteCache(Generic[Kept]):
    """Values by key, the least recently used of which go where they come to more than `most` bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = self.hits = self.misses = 0
        self._kept: OrderedDict[bytes, tuple[Kept, int]] = OrderedDict()

    def get(self, key: bytes) -> Kept | None:
        """The value, which counts as used now; None where there is none."""
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: bytes, value: Kept, size: int) -> None:
        """Keep a value of `size` bytes, unless it alone is too large."""
        if size > self.most or key in self._kept:
            return
        self._kept[key] = (value, size)
        self.bytes += size
        while self.bytes > self.most:
            _, (_, gone) = self._kept.popitem(last=False)
            self.bytes -= gone


class EncoderCache:
    """Stands for an image encoder: an image that it saw before, alone or in a batch, is not computed again."""

    def __init__(self, encode: Callable[[Tensor], Tensor], most: int) -> None:
        self._encode = encode
        self.cache: ByteCache[Tensor] = ByteCache(most)
        self.encoded = 0
        self.seconds = 0.0
        self._held: dict[bytes, Tensor] | None = None

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep everything meanwhile, whatever the number of bytes: what one batch encodes is used more than once."""
        self._held = {}
        try:
            yield
        finally:
            self._held = None

    def __call__(self, pixels: Tensor) -> Tensor:
        """Visual features (B, I, D) of pixels (B, …); equal images of a batch are computed once."""
        if not torch.is_inference_mode_enabled():  # what is kept cannot be learned through
            return self._encode(pixels)
        started = time.perf_counter()
        try:
            return self._kept_or_encoded(pixels)
        finally:
            self.seconds += time.perf_counter() - started

    def _kept_or_encoded(self, pixels: Tensor) -> Tensor:
        if not self.cache.most and self._held is None:  # nothing is kept, and batches hold an image once
            self.encoded += len(pixels)
            return self._encode(pixels)
        keys = [_key(one) for one in pixels]
        known = {key: found for key in dict.fromkeys(keys) if (found := self._get(key)) is not None}
        new = {key: place for place, key in enumerate(keys) if key not in known}
        if new:
            places = torch.tensor(list(new.values()), device=pixels.device)
            features = self._encode(pixels if len(new) == len(pixels) else pixels[places])
            if len(new) == len(pixels):
                features = features[places]
            self.encoded += len(new)
            for key, one in zip(new, features, strict=True):
                known[key] = one.clone()
                self.cache.put(key, known[key], one.numel() * one.element_size())
                if self._held is not None:
                    self._held[key] = known[key]
        return torch.stack([known[key] for key in keys])

    def _get(self, key: bytes) -> Tensor | None:
        held = None if self._held is None else self._held.get(key)
        return self.cache.get(key) if held is None else held


def _key(pixels: Tensor) -> bytes:
    digest = hashlib.sha256(str((tuple(pixels.shape), pixels.dtype)).encode())
    digest.update(pixels.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.digest()

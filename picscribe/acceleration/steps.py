"""A step of decoding that has one shape throughout, as a CUDA graph must."""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from picscribe.acceleration.fixed_text_cache import FixedTextCache
from picscribe.model import Git, TextCache


class FixedStep:
    """A `generation.decoding.Step`: the same work on the same memory every time, on a GPU as a graph that is replayed.

    A GPU does a step sooner than Python can ask for its hundreds of products; for a graph it asks once. What was
    captured serves later batches of the same shape: `fixed_step` keeps the last one of each model. It does not hold the
    model, so that both end with the model's last user.
    """

    shrinks = False

    def __init__(self, model: Git, cache: TextCache, reorders: bool) -> None:
        self.reorders = reorders
        self.shape = _shape(model, cache, reorders)
        self.cache = FixedTextCache(cache)
        images, texts = cache.visible.shape[:2]
        empty = torch.zeros((images, texts), dtype=torch.long, device=cache.visible.device)
        self.source, self.token, self.position = empty.clone(), empty.clone(), empty.clone()
        self.logits = torch.empty(0)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.model: Git | None = model
        """Whose step this is, while it is in use."""

    def __call__(self, source: Tensor | None, token: Tensor, position: Tensor) -> Tensor:
        if source is not None:
            self.source.copy_(source)
        self.token.copy_(token)
        self.position.copy_(position)
        if self.token.device.type != "cuda":
            return self.compute()
        if self.graph is None:
            self._capture()
        assert self.graph is not None
        self.graph.replay()
        return self.logits

    def compute(self) -> Tensor:
        """The step on the contents of `source`, `token` and `position`: logits (B, P, V)."""
        assert self.model is not None
        if self.reorders:
            self.cache.reorder(self.source)
        logits = self.model.next_logits(self.token, self.cache, self.position)
        self.cache.advance()
        return logits

    def _capture(self) -> None:
        device = self.token.device
        with torch.cuda.device(device):
            before = self.cache.visible.clone(), self.cache.next_slots.clone()
            stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                self.compute()  # libraries set themselves up at first use, which cannot be captured
            current.wait_stream(stream)
            self.cache.visible.copy_(before[0])
            self.cache.next_slots.copy_(before[1])
            self.graph = torch.cuda.CUDAGraph()
            # Other threads may continue with the GPU, such as one that computes the next view of photos.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.logits = self.compute()

    def keep(self, images: Tensor) -> None:
        raise AssertionError("a step that does not shrink keeps all images")

    def finish(self) -> None:
        """Serve the next batch of this shape."""
        assert self.model is not None
        _idle[self.model], self.model = self, None


_idle: WeakKeyDictionary[Git, FixedStep] = WeakKeyDictionary()
"""The last step of each model. Whoever uses one takes it out, so that threads do not share it."""


def _shape(model: Git, cache: TextCache, reorders: bool) -> tuple[object, ...]:
    """What must be the same for a captured step to serve again; the weights' memory among it."""
    keys = cache.prefix.keys[0]
    weights = tuple(parameter.data_ptr() for parameter in model.parameters())
    return keys.shape, keys.dtype, keys.device, cache.visible.shape, reorders, weights


def fixed_step(model: Git, cache: TextCache, reorders: bool) -> FixedStep:
    """A step on `cache`: the model's last one if it has the same shape. `reorders`: texts continue from others."""
    idle = _idle.pop(model, None)
    if idle is None or idle.shape != _shape(model, cache, reorders):
        return FixedStep(model, cache, reorders)
    idle.cache.take_over(cache)
    idle.model = model
    return idle

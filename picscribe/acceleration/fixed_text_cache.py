"""A text cache of one shape throughout: what a captured graph of GPU work needs, replayed step by step."""

import torch
from torch import Tensor

from picscribe.model import TextCache


class FixedTextCache(TextCache):
    """All slots of the room are there from the start, and which of them comes next is counted in a tensor.

    So a step does the same work on the same memory each time, and a CUDA graph of it can be replayed. The slots that
    are not yet written are seen by nobody. Only single tokens are appended, one per text and step.
    """

    def __init__(self, cache: TextCache) -> None:
        """Take over a cache's texts so far, and its memory."""
        self._own(cache.prefix)
        self.length = cache.length
        images, texts, used = cache.visible.shape
        device = cache.visible.device
        self.visible = torch.zeros((images, texts, self.prefix.room), dtype=torch.bool, device=device)
        self.visible[:, :, :used] = cache.visible
        self.next_slots = torch.arange(used, used + texts, device=device)
        self.own = torch.eye(texts, dtype=torch.bool, device=device).expand(images, -1, -1)
        self._clear(self.prefix.tokens + used)

    def take_over(self, cache: TextCache) -> None:
        """Start again with another cache of the same shape, copied into this one's memory."""
        cache.require_room()
        used = cache.slots
        end = self.prefix.tokens + used
        for mine, given in (
            *zip(self.prefix.keys, cache.prefix.keys, strict=True),
            *zip(self.prefix.values, cache.prefix.values, strict=True),
        ):
            mine[:, :, :end] = given[:, :, :end]
        self._clear(end)
        self.length = cache.length
        self.visible.zero_()
        self.visible[:, :, :used] = cache.visible
        self.next_slots.copy_(torch.arange(used, used + len(self.next_slots)))

    def _clear(self, start: int) -> None:
        """Zero the slots from `start` on. Memory that nobody wrote, or that an earlier batch did, may hold infinities
        or NaN, which no mask hides: zero times infinity is not a number."""
        for values in (*self.prefix.keys, *self.prefix.values):
            values[:, :, start:] = 0

    def open(self, position: Tensor) -> Tensor:
        """As of any cache, for one token per text: which slots it sees, (B, 1, P, S)."""
        self.visible.index_copy_(2, self.next_slots, self.own)
        return self.visible[:, None]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the newest tokens' keys and values (B, H, P, D/H); return those of all slots."""
        keys, values = self.prefix.keys[layer], self.prefix.values[layer]
        where = self.prefix.tokens + self.next_slots
        keys.index_copy_(2, where, key)
        values.index_copy_(2, where, value)
        return keys, values

    def advance(self) -> None:
        """The step is over: what comes next goes into the slots behind it."""
        self.next_slots.add_(len(self.next_slots))

    def reorder(self, source: Tensor) -> None:
        """As of any cache, as many texts as before."""
        self.visible.copy_(self.visible.gather(1, source[..., None].expand(-1, -1, self.slots)))

"""Attention, the one rule that says which token sees which, and the keys and values that are kept for later tokens."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.errors import InputError


class Attention(nn.Module):
    """The two products around attention; what comes between them is `attend`, or whatever takes its place."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) → query, key, value, each (B, H, T, D/H)."""
        batch, tokens, _ = x.shape
        query, key, value = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return query, key, value


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Queries (B, H, T, D/H) over keys and values (B, H, K, D/H) → (B, T, D).

    `mask`: True where seen, or what is added to the scores.
    """
    seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return seen.transpose(1, 2).flatten(2)


def resize_position_grid(grid: Tensor, height: int, width: int) -> Tensor:
    """Learned positions (rows·columns, D) of a square grid → (height·width, D), bicubic as in the original code."""
    side = round(grid.shape[0] ** 0.5)
    if (side, side) == (height, width):
        return grid
    square = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(square.float(), size=(height, width), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(height * width, -1).to(grid.dtype)


PADDING_POSITION = torch.iinfo(torch.int32).max
"""Position of a padding token: later than every real one, so nothing real sees it."""


def visible_text(query_text: Tensor, query_position: Tensor, key_text: Tensor, key_position: Tensor) -> Tensor:
    """Which text token sees which: those of its own text up to and including itself.

    `*_text` (B or 1, T) says to which of an image's texts a token belongs, `*_position` (B, T) its position in that
    text. One rule gives the causal mask of a caption, the block-diagonal one of captions packed over one image, and the
    masks of prompts and beams. Returns (B, 1, queries, keys), True where seen.
    """
    same_text = query_text[:, :, None] == key_text[:, None, :]
    not_later = key_position[:, None, :] <= query_position[:, :, None]
    return (same_text & not_later)[:, None]


def sees_image(text_mask: Tensor, image_tokens: int) -> Tensor:
    """Put the image's columns, which every text token sees, before `text_mask` (B, 1, T, K) → (B, 1, T, I + K)."""
    return F.pad(text_mask, (image_tokens, 0), value=True)


def with_room(x: Tensor, slots: int) -> Tensor:
    """(B, H, I, D/H) → (B, H, I + slots, D/H), what is in the slots left open."""
    if not slots:
        return x
    batch, heads, tokens, width = x.shape
    wide = x.new_empty((batch, heads, tokens + slots, width))
    wide[:, :, :tokens] = x
    return wide


@dataclass
class ImagePrefix:
    """Keys and values of the image tokens in every decoder layer, computed once per image.

    Each tensor is (B, H, I + room, D/H). The room after the `tokens` image tokens belongs to one `TextCache`, so that
    attention reads image and text as one stretch of memory without copying the image's part.
    """

    keys: list[Tensor]
    values: list[Tensor]
    tokens: int
    caches: int = 0
    """Caches that have begun in the room; only the last of them may use it."""

    def __len__(self) -> int:
        return self.keys[0].shape[0]

    @property
    def room(self) -> int:
        """Text slots behind the image tokens."""
        return self.keys[0].shape[2] - self.tokens

    def image_part(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, I, D/H) of one layer, without the room."""
        return self.keys[layer][:, :, : self.tokens], self.values[layer][:, :, : self.tokens]

    def with_room(self, slots: int) -> "ImagePrefix":
        """The same prefix with room for at least `slots` text slots; copies only where there is less."""
        if self.room >= slots:
            return self
        tokens = self.tokens
        keys, values = ([with_room(x[:, :, :tokens], slots) for x in xs] for xs in (self.keys, self.values))
        return ImagePrefix(keys, values, tokens)

    def select(self, images: Tensor) -> "ImagePrefix":
        """A copy of some of the images, by index (n,)."""
        return ImagePrefix([k[images] for k in self.keys], [v[images] for v in self.values], self.tokens)


class TextCache:
    """Keys and values of the texts decoded so far: P texts per image, all over one image prefix.

    Slots run step by step, the P texts side by side within a step, so that a step appends a stretch of P slots and
    what attention reads is always a plain slice of the prefix's memory. A slot never moves: which of an image's texts
    see it is all that changes when beams part and end.

    The room of a prefix serves one cache. Where another cache has begun in it, the older one raises InputError when it
    is used again: its slots have been written over.
    """

    def __init__(self, prefix: ImagePrefix, texts: int, slots: int) -> None:
        """Start with `texts` texts per image and room for `slots` text slots in all."""
        self._own(prefix.with_room(slots))
        self.visible = torch.zeros((len(prefix), texts, 0), dtype=torch.bool, device=prefix.keys[0].device)
        self.length = 0

    def _own(self, prefix: ImagePrefix) -> None:
        prefix.caches += 1
        self.prefix, self._number = prefix, prefix.caches

    def require_room(self) -> None:
        """Raise InputError where a newer cache has taken the room."""
        if self._number != self.prefix.caches:
            raise InputError(
                "another TextCache has begun on this image prefix and has written over the texts of this one: use one "
                "after the other, or copy the prefix with select"
            )

    @property
    def slots(self) -> int:
        """Text slots in use."""
        return self.visible.shape[2]

    def open(self, position: Tensor) -> Tensor:
        """Open slots for tokens at `position` (B, P, T); their keys and values follow, layer by layer, by `append`.

        Returns which slots, the new ones included, each of the tokens sees: (B, 1, T·P, S).
        """
        self.require_room()
        texts, length = position.shape[1:]
        flat = position.transpose(1, 2).flatten(1)
        text = torch.arange(texts, device=flat.device).repeat(length)[None]
        mask = torch.cat([self.visible.repeat(1, length, 1)[:, None], visible_text(text, flat, text, flat)], dim=3)
        row = torch.arange(texts, device=flat.device)[None, :, None]
        own = (text[:, None] == row) & (flat != PADDING_POSITION)[:, None]
        self.visible = torch.cat([self.visible, own], dim=2)
        self.length += length
        return mask

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the newest tokens' keys and values (B, H, T·P, D/H); return all of image and text so far."""
        end = self.prefix.tokens + self.slots
        start = end - key.shape[2]
        keys, values = self.prefix.keys[layer], self.prefix.values[layer]
        keys[:, :, start:end] = key
        values[:, :, start:end] = value
        return keys[:, :, :end], values[:, :, :end]

    def reorder(self, source: Tensor) -> None:
        """Text p of image b continues the earlier text `source[b, p]`; there may be more or fewer than before."""
        self.visible = self.visible.gather(1, source[..., None].expand(-1, -1, self.slots))

    def keep(self, images: Tensor) -> None:
        """Go on with some of the images only, by index (n,)."""
        self.require_room()
        self._own(self.prefix.select(images))
        self.visible = self.visible[images]

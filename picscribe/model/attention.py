"""Multi-head attention with query, key and value in one matrix, and the one rule that says which token sees which."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.model.linear import Linear, linear_tail


class Attention(nn.Module):
    """Attention in three steps, so that a caller may keep keys and values: `project`, `attend`, and then `out`."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        batch, tokens, _ = x.shape
        return x.view(batch, tokens, parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, T, D) → query, key, value, each (B, H, T, D/H)."""
        return self._split(self.qkv(x), 3)

    def project_keys_values(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, T, D) → key, value, each (B, H, T, D/H); for tokens whose own output nobody needs."""
        return self._split(linear_tail(self.qkv, x, x.shape[-1]), 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries (B, H, T, D/H) over keys and values (B, H, K, D/H) → (B, T, D), still to go through `out`.

        `mask`: True where seen, or what is added to the scores.
        """
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return seen.transpose(1, 2).flatten(2)


PADDING_POSITION = torch.iinfo(torch.int32).max
"""Position of a padding token: later than every real one, so nothing real sees it."""


def visible_text(query_text: Tensor, query_position: Tensor, key_text: Tensor, key_position: Tensor) -> Tensor:
    """Which text token sees which: those of its own text that stand no later than itself.

    `*_text` (B or 1, T) says to which of an image's texts a token belongs, `*_position` (B, T) where it stands in it.
    One rule gives the causal mask of a caption, the block-diagonal one of captions packed over one image, and the
    masks of prompts and beams. Returns (B, 1, queries, keys), True where seen.
    """
    same_text = query_text[:, :, None] == key_text[:, None, :]
    not_later = key_position[:, None, :] <= query_position[:, :, None]
    return (same_text & not_later)[:, None]


def sees_image(text_mask: Tensor, image_tokens: int) -> Tensor:
    """Put the image's columns, which every text token sees, before `text_mask` (B, 1, T, K) → (B, 1, T, I + K)."""
    return F.pad(text_mask, (image_tokens, 0), value=True)

"""Multi-head attention with query, key and value in one matrix, and the one rule that says which token sees which."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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

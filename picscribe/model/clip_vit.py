"""CLIP's vision transformer without its pooling: pixels → one vector per patch, and the class token's."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from picscribe.model.attention import Attention, attend, resize_position_grid
from picscribe.model.config import ClipVitConfig

AttendImage = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Query, key and value (B, H, I, D/H) → (B, I, D): `attend`, or what takes its place."""


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: ClipVitConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.attention = Attention(config.width, config.heads)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.up = nn.Linear(config.width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor, attend: AttendImage = attend) -> Tensor:
        """(B, I, D) → (B, I, D)."""
        x = x + self.attention.out(attend(*self.attention.project(self.attention_norm(x))))
        return x + self.down(quick_gelu(self.up(self.mlp_norm(x))))


class ClipVit(nn.Module):
    """Image encoder of the released GIT checkpoints."""

    def __init__(self, config: ClipVitConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv2d(3, config.width, config.patch_size, config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(config.width))
        self.position_embedding = nn.Parameter(torch.empty(config.tokens, config.width))
        for embedding in (self.class_embedding, self.position_embedding):
            nn.init.normal_(embedding, std=config.width**-0.5)
        self.pre_norm = nn.LayerNorm(config.width, config.norm_eps)
        # Cast, since a ModuleList does not tell a type checker what it holds.
        self.blocks = cast("list[Block]", nn.ModuleList(Block(config) for _ in range(config.layers)))
        self.post_norm = nn.LayerNorm(config.width, config.norm_eps)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Positions of a grid of `rows` × `columns` patches, the class token's first: (1 + rows·columns, D)."""
        class_position, grid = self.position_embedding[:1], self.position_embedding[1:]
        return torch.cat([class_position, resize_position_grid(grid, rows, columns)])

    def encode_until(self, block: int, pixels: Tensor) -> Tensor:
        """The embeddings and the blocks before number `block`: (B, 3, height, width) → (B, I, D)."""
        patches = self.patch_embedding(pixels)
        rows, columns = patches.shape[-2:]
        patches = patches.flatten(2).transpose(1, 2)
        class_token = self.class_embedding.expand(len(patches), 1, -1)
        x = self.pre_norm(torch.cat([class_token, patches], dim=1) + self.positions(rows, columns))
        for each in self.blocks[:block]:
            x = each(x)
        return x

    def encode_from(self, block: int, x: Tensor, attend: AttendImage = attend) -> Tensor:
        """The blocks from number `block` on, and the last norm: (B, I, D) → (B, I, D)."""
        for each in self.blocks[block:]:
            x = each(x, attend)
        return self.post_norm(x)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) → (B, I, D): the class token, then the patches row by row."""
        return self.encode_from(0, self.encode_until(0, pixels))

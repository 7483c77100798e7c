"""CLIP's vision transformer without its pooling: pixels → one vector a patch, and the class token's."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.model.attention import Attention
from picscribe.model.config import ClipVitConfig
from picscribe.model.linear import linear_plus, quick_gelu_layers, quick_gelu_mlp


def resize_position_grid(grid: Tensor, height: int, width: int) -> Tensor:
    """Learned positions (rows·columns, D) of a square grid → (height·width, D), bicubic as in the original code."""
    side = round(grid.shape[0] ** 0.5)
    if (side, side) == (height, width):
        return grid
    square = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(square.float(), size=(height, width), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(height * width, -1).to(grid.dtype)


class Block(nn.Module):
    """A pre-norm transformer block with CLIP's QuickGELU, x·sigmoid(1.702x)."""

    def __init__(self, config: ClipVitConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.attention = Attention(config.width, config.heads)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.up, self.down = quick_gelu_layers(config.width, config.mlp_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, D) → (B, I, D)."""
        attention = self.attention
        x = linear_plus(attention.out, attention.attend(*attention.project(self.attention_norm(x))), x)
        return quick_gelu_mlp(self.up, self.down, self.mlp_norm(x), x)


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
        self.blocks = cast("list[Block]", nn.ModuleList(Block(config) for _ in range(config.layers)))
        self.post_norm = nn.LayerNorm(config.width, config.norm_eps)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Positions of a grid of `rows` × `columns` patches, the class token's first: (1 + rows·columns, D)."""
        class_position, grid = self.position_embedding[:1], self.position_embedding[1:]
        return torch.cat([class_position, resize_position_grid(grid, rows, columns)])

    def lower(self, pixels: Tensor, blocks: int) -> Tensor:
        """The embeddings and the first `blocks` blocks: (B, 3, height, width) → (B, I, D)."""
        patches = self.patch_embedding(pixels)
        rows, columns = patches.shape[-2:]
        patches = patches.flatten(2).transpose(1, 2)
        class_token = self.class_embedding.expand(len(patches), 1, -1)
        x = self.pre_norm(torch.cat([class_token, patches], dim=1) + self.positions(rows, columns))
        for block in self.blocks[:blocks]:
            x = block(x)
        return x

    def upper(self, features: Tensor, blocks: int) -> Tensor:
        """What comes after the first `blocks` blocks: (B, I, D) → (B, I, D)."""
        x = features
        for block in self.blocks[blocks:]:
            x = block(x)
        return self.post_norm(x)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) → (B, I, D): the class token, then the patches row by row."""
        return self.upper(self.lower(pixels, 0), 0)

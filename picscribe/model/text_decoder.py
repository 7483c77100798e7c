"""The text decoder: a post-norm transformer whose text sees the image, and whose image never sees the text.

Because of that, an image's keys and values are computed once (`encode_image`) and serve every prompt, beam and step.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from picscribe.model.attention import PADDING_POSITION, Attention, sees_image, visible_text
from picscribe.model.config import TextDecoderConfig
from picscribe.model.linear import Linear, linear_gelu, linear_plus


def _with_room(x: Tensor, slots: int) -> Tensor:
    """(B, H, I, D/H) → (B, H, I + slots, D/H), what is in the slots left open."""
    if not slots:
        return x
    batch, heads, tokens, width = x.shape
    wide = x.new_empty((batch, heads, tokens + slots, width))
    wide[:, :, :tokens] = x
    return wide


@dataclass
class ImagePrefix:
    """Keys and values of the image tokens in every decoder layer, computed once an image.

    Each tensor is (B, H, I + room, D/H); the room after the `tokens` image tokens is where a `TextCache` writes, so
    that attention reads image and text as one stretch of memory without copying the image's part.
    """

    keys: list[Tensor]
    values: list[Tensor]
    tokens: int

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
        keys, values = ([_with_room(x[:, :, :tokens], slots) for x in xs] for xs in (self.keys, self.values))
        return ImagePrefix(keys, values, tokens)

    def select(self, images: Tensor) -> "ImagePrefix":
        """The prefix of some of the images, by index (n,)."""
        return ImagePrefix([k[images] for k in self.keys], [v[images] for v in self.values], self.tokens)


class TextCache:
    """Keys and values of the texts decoded so far: P texts an image, all over one image prefix.

    Slots run step by step, the P texts side by side within a step, so that a step appends a stretch of P slots and
    what attention reads is always a plain slice of the prefix's memory. A slot never moves: which of an image's texts
    see it is all that changes when beams part and end. One cache at a time writes into the room.
    """

    def __init__(self, prefix: ImagePrefix, texts: int, slots: int) -> None:
        """Start with `texts` texts an image and room for `slots` text slots in all."""
        self.prefix = prefix.with_room(slots)
        device = prefix.keys[0].device
        self.visible = torch.zeros((len(prefix), texts, 0), dtype=torch.bool, device=device)
        self.length = 0

    @property
    def slots(self) -> int:
        """Text slots in use."""
        return self.visible.shape[2]

    def open(self, position: Tensor) -> Tensor:
        """Open slots for tokens at `position` (B, P, T); their keys and values follow, layer by layer, by `append`.

        Returns which slots, the new ones included, each of the tokens sees: (B, 1, T·P, S).
        """
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
        """Text p of image b goes on from what text `source[b, p]` has been; there may be more or fewer than before."""
        self.visible = self.visible.gather(1, source[..., None].expand(-1, -1, self.slots))

    def keep(self, images: Tensor) -> None:
        """Go on with some of the images only, by index (n,)."""
        self.prefix = self.prefix.select(images)
        self.visible = self.visible[images]


class DecoderLayer(nn.Module):
    """A post-norm BERT layer; attention's halves are called apart by the decoder."""

    def __init__(self, config: TextDecoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads, config.attention_dropout)
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.up = Linear(config.width, config.mlp_width)
        self.down = Linear(config.mlp_width, config.width)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def finish(self, x: Tensor, seen: Tensor) -> Tensor:
        """What attention saw, out of it, add and norm, MLP, add and norm: (B, T, D) → (B, T, D)."""
        x = self.attention_norm(self._add(self.attention.out, seen, x))
        return self.mlp_norm(self._add(self.down, linear_gelu(self.up, x), x))

    def _add(self, linear: Linear, x: Tensor, residual: Tensor) -> Tensor:
        return residual + self.dropout(linear(x)) if self.training else linear_plus(linear, x, residual)


class TextDecoder(nn.Module):
    """Image embeddings → image prefix; tokens over that prefix → hidden states → logits."""

    def __init__(self, config: TextDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.word_embedding = nn.Embedding(config.vocabulary_size, config.width)
        self.position_embedding = nn.Embedding(config.max_positions, config.width)
        self.embedding_norm = nn.LayerNorm(config.width, config.embedding_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        # Cast, since a ModuleList does not tell a type checker what it holds.
        self.layers = cast("list[DecoderLayer]", nn.ModuleList(DecoderLayer(config) for _ in range(config.layers)))
        self.layers[-1].attention.qkv.tail_start = config.width  # of image tokens only keys and values are needed
        self.output = Linear(config.width, config.vocabulary_size)
        if config.tie_output:
            self.output.weight = self.word_embedding.weight

    def encode_image(self, x: Tensor, room: int = 0) -> ImagePrefix:
        """Image embeddings (B, I, D) → their keys and values in every layer, with `room` text slots behind them.

        The last layer's image rows stop at keys and values: nobody reads their output.
        """
        keys, values = [], []
        for index, layer in enumerate(self.layers):
            if index + 1 < len(self.layers):
                query, key, value = layer.attention.project(x)
                x = layer.finish(x, layer.attention.attend(query, key, value))
            else:
                key, value = layer.attention.project_keys_values(x)
            keys.append(_with_room(key, room))
            values.append(_with_room(value, room))
        return ImagePrefix(keys, values, x.shape[1])

    def embed(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Word plus position: (B, N) and (B, N) → (B, N, D); padding takes position 0, which nobody sees."""
        position = torch.where(position == PADDING_POSITION, 0, position)
        return self.dropout(self.embedding_norm(self.word_embedding(tokens) + self.position_embedding(position)))

    def forward(
        self,
        tokens: Tensor,
        prefix: ImagePrefix,
        cache: TextCache | None = None,
        position: Tensor | None = None,
        text: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of `tokens` (B, P, T) over the image prefix: (B, P, T, D).

        `position` (B, P, T) is where each token stands in its text (`PADDING_POSITION` for padding); by default 0, 1, …
        `text` (B, P, T) says which text a token belongs to; by default a row of T is a text, but texts of different
        lengths may stand one after the other in a row.
        With a cache the tokens are what comes next in its texts, and the cache keeps them; `prefix` is the cache's.
        """
        batch, texts, length = tokens.shape
        if position is None:
            start = cache.length if cache else 0
            position = torch.arange(start, start + length, device=tokens.device).expand(batch, texts, length)
        # Step by step, the texts side by side within a step: the cache's order.
        flat_position = position.transpose(1, 2).flatten(1)
        x = self.embed(tokens.transpose(1, 2).flatten(1), flat_position)
        if cache is not None:
            prefix, visible = cache.prefix, cache.open(position)
        else:
            row = torch.arange(texts, device=tokens.device)[None].repeat(1, length)
            flat_text = row if text is None else text.transpose(1, 2).flatten(1)
            visible = visible_text(flat_text, flat_position, flat_text, flat_position)
        mask = sees_image(visible, prefix.tokens)
        if cache is not None:
            # Added to the scores, which attention would otherwise make of the mask in every layer.
            mask = torch.zeros((), dtype=x.dtype, device=x.device).where(mask, -torch.inf)
        for index, layer in enumerate(self.layers):
            query, key, value = layer.attention.project(x)
            if cache is not None:
                key, value = cache.append(index, key, value)
            else:
                image_key, image_value = prefix.image_part(index)
                key, value = torch.cat([image_key, key], dim=2), torch.cat([image_value, value], dim=2)
            x = layer.finish(x, layer.attention.attend(query, key, value, mask))
        return x.view(batch, length, texts, -1).transpose(1, 2)

"""The text decoder: a post-norm transformer whose text sees the image, and whose image never sees the text.

Because of that, an image's keys and values are computed once (`encode_image`) and serve every prompt, beam and step.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.model.attention import PADDING_POSITION, Attention, sees_image, visible_text
from picscribe.model.config import TextDecoderConfig


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

        def widen(x: Tensor) -> Tensor:
            return F.pad(x[:, :, : self.tokens], (0, 0, 0, slots))

        return ImagePrefix([widen(k) for k in self.keys], [widen(v) for v in self.values], self.tokens)

    def select(self, images: Tensor) -> "ImagePrefix":
        """The prefix of some of the images, by index (n,)."""
        return ImagePrefix([k[images] for k in self.keys], [v[images] for v in self.values], self.tokens)


class TextCache:
    """Keys and values of the texts decoded so far: P texts an image, all over one image prefix.

    Slots run step by step, the P texts side by side within a step, so that a step appends a stretch of P slots and
    what attention reads is always a plain slice of the prefix's memory. One cache at a time writes into the room.
    """

    def __init__(self, prefix: ImagePrefix, texts: int, slots: int) -> None:
        """Start with `texts` texts an image and room for `slots` text slots in all."""
        self.prefix = prefix.with_room(slots)
        self.texts = texts
        self.steps = 0
        self.position = torch.zeros((len(prefix), 0), dtype=torch.int32, device=prefix.keys[0].device)

    @property
    def slots(self) -> int:
        """Text slots in use."""
        return self.steps * self.texts

    def append_positions(self, position: Tensor) -> None:
        """Open slots for tokens at `position` (B, T, P); their keys and values follow, layer by layer, by `append`."""
        self.position = torch.cat([self.position, position.flatten(1)], dim=1)
        self.steps += position.shape[1]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the newest tokens' keys and values (B, H, T·P, D/H); return all of image and text so far."""
        end = self.prefix.tokens + self.slots
        start = end - key.shape[2]
        keys, values = self.prefix.keys[layer], self.prefix.values[layer]
        keys[:, :, start:end] = key
        values[:, :, start:end] = value
        return keys[:, :, :end], values[:, :, :end]

    def reorder(self, source: Tensor) -> None:
        """Text p of image b goes on from what text `source[b, p]` has been; there may be more or fewer than before.

        Moves text slots only, never the image's.
        """
        steps = torch.arange(self.steps, device=source.device)[:, None]
        slot = (steps * self.texts + source[:, None, :]).flatten(1)
        start = self.prefix.tokens
        self.texts = source.shape[1]
        self.position = self.position.gather(1, slot)
        batch, heads, places, _ = self.prefix.keys[0].shape
        # One flat gather of rows; indexing image, head and slot apart takes three times as long.
        first_rows = torch.arange(0, batch * heads * places, places, device=source.device).view(batch, heads, 1)
        rows = (first_rows + (start + slot)[:, None]).flatten()
        for stored in (*self.prefix.keys, *self.prefix.values):
            moved = stored.view(batch * heads * places, -1).index_select(0, rows)
            stored[:, :, start : start + self.slots] = moved.view(batch, heads, self.slots, -1)

    def keep(self, images: Tensor) -> None:
        """Go on with some of the images only, by index (n,)."""
        self.prefix = self.prefix.select(images)
        self.position = self.position[images]


class DecoderLayer(nn.Module):
    """A post-norm BERT layer; attention's halves are called apart by the decoder."""

    def __init__(self, config: TextDecoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads, config.attention_dropout)
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.up = nn.Linear(config.width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add and norm, MLP, add and norm: (B, T, D) → (B, T, D)."""
        x = self.attention_norm(x + self.dropout(attended))
        return self.mlp_norm(x + self.dropout(self.down(F.gelu(self.up(x)))))


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
        self.output = nn.Linear(config.width, config.vocabulary_size)
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
            keys.append(F.pad(key, (0, 0, 0, room)) if room else key)
            values.append(F.pad(value, (0, 0, 0, room)) if room else value)
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
            start = cache.steps if cache else 0
            position = torch.arange(start, start + length, device=tokens.device).expand(batch, texts, length)
        # Step by step, the texts side by side within a step: the cache's order.
        flat_position = position.transpose(1, 2).to(torch.int32)
        query_position = flat_position.flatten(1)
        row = torch.arange(texts, device=tokens.device)[None]
        query_text = row.repeat(1, length) if text is None else text.transpose(1, 2).flatten(1)
        x = self.embed(tokens.transpose(1, 2).flatten(1), query_position)
        key_text, key_position = query_text, query_position
        if cache is not None:
            cache.append_positions(flat_position)
            prefix, key_position = cache.prefix, cache.position
            key_text = row.repeat(1, cache.steps)
        mask = sees_image(visible_text(query_text, query_position, key_text, key_position), prefix.tokens)
        for index, layer in enumerate(self.layers):
            query, key, value = layer.attention.project(x)
            if cache is not None:
                key, value = cache.append(index, key, value)
            else:
                image_key, image_value = prefix.image_part(index)
                key, value = torch.cat([image_key, key], dim=2), torch.cat([image_value, value], dim=2)
            x = layer.finish(x, layer.attention.attend(query, key, value, mask))
        return x.view(batch, length, texts, -1).transpose(1, 2)

"""GIT: an image encoder, a projection and a text decoder (Wang et al., 2022, arXiv 2205.14100, section 3).

The text decoder is a post-norm transformer whose text sees the image, and whose image never sees the text. So an
image's keys and values are computed once (`encode_image`) and serve every prompt, beam and step.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from picscribe.errors import InputError
from picscribe.model.attention import (
    PADDING_POSITION,
    Attention,
    ImagePrefix,
    TextCache,
    attend,
    sees_image,
    visible_text,
    with_room,
)
from picscribe.model.clip_vit import ClipVit
from picscribe.model.config import ClipVitConfig, GitConfig, TextDecoderConfig
from picscribe.model.efficientnet_lite import EfficientNetLite

ImageEncoder = ClipVit | EfficientNetLite

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor | None]
"""How tokens see each other in one layer: its number, and query, key and value (B, H, T, D/H) → (B, T, D).

None ends the walk: nobody needs what comes after this layer's keys and values."""


class DecoderLayer(nn.Module):
    """A post-norm BERT layer, from what its attention saw on."""

    def __init__(self, config: TextDecoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.up = nn.Linear(config.width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """The layer's input and what attention saw of it, both (B, T, D) → (B, T, D)."""
        x = self.attention_norm(x + self.dropout(self.attention.out(seen)))
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

    def embed(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Word plus position: (B, N) and (B, N) → (B, N, D); padding takes position 0, which nobody sees."""
        position = torch.where(position == PADDING_POSITION, 0, position)
        return self.dropout(self.embedding_norm(self.word_embedding(tokens) + self.position_embedding(position)))

    def walk(self, x: Tensor, attend: Attend) -> Tensor:
        """Embeddings (B, T, D) through the layers → hidden states (B, T, D); `attend` says what sees what."""
        for number, layer in enumerate(self.layers):
            seen = attend(number, *layer.attention.project(x))
            if seen is None:
                break
            x = layer(x, seen)
        return x

    def encode_image(self, x: Tensor, room: int = 0) -> ImagePrefix:
        """Image embeddings (B, I, D) → their keys and values in every layer, with `room` text slots behind them."""
        keys, values = [], []

        def attend_image(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
            keys.append(with_room(key, room))
            values.append(with_room(value, room))
            return self._attend(query, key, value) if number + 1 < len(self.layers) else None

        self.walk(x, attend_image)
        return ImagePrefix(keys, values, x.shape[1])

    def decode(
        self, tokens: Tensor, prefix: ImagePrefix, position: Tensor | None = None, text: Tensor | None = None
    ) -> Tensor:
        """Hidden states of whole texts, `tokens` (B, P, T), over the image prefix: (B, P, T, D).

        `position` (B, P, T) is the position of each token in its text (`PADDING_POSITION` for padding); by default 0,
        1, … `text` (B, P, T) says which text a token belongs to; by default a row of T is a text, but texts of
        different lengths may follow each other in a row.
        """
        batch, texts, length = tokens.shape
        device = tokens.device
        if position is None:
            position = torch.arange(length, device=device).expand(batch, texts, length)
        if text is None:
            text = torch.arange(texts, device=device)[None, :, None].expand(1, texts, length)
        position, text = position.flatten(1), text.flatten(1)
        mask = sees_image(visible_text(text, position, text, position), prefix.tokens)

        def attend_text(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            image_key, image_value = prefix.image_part(number)
            key, value = torch.cat([image_key, key], dim=2), torch.cat([image_value, value], dim=2)
            return self._attend(query, key, value, mask)

        return self.walk(self.embed(tokens.flatten(1), position), attend_text).view(batch, texts, length, -1)

    def decode_next(self, tokens: Tensor, cache: TextCache, position: Tensor | None = None) -> Tensor:
        """Hidden states (B, P, T, D) of what comes next in the P texts of `cache`, `tokens` (B, P, T); it keeps them.

        `position` (B, P, T) as in `decode`; by default what follows the tokens that the cache holds.
        """
        batch, texts, length = tokens.shape
        if position is None:
            start = cache.length
            position = torch.arange(start, start + length, device=tokens.device).expand(batch, texts, length)
        # Step by step, the texts side by side within a step: the cache's order.
        x = self.embed(tokens.transpose(1, 2).flatten(1), position.transpose(1, 2).flatten(1))
        visible = sees_image(cache.open(position), cache.prefix.tokens)
        # Added to the scores. Attention would otherwise convert a boolean mask in every layer.
        mask = torch.zeros((), dtype=x.dtype, device=x.device).where(visible, -torch.inf)

        def attend_cached(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return self._attend(query, *cache.append(number, key, value), mask)

        return self.walk(x, attend_cached).view(batch, length, texts, -1).transpose(1, 2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        return attend(query, key, value, mask, self.config.attention_dropout if self.training else 0.0)


class Git(nn.Module):
    """Pixels in, words out. `encode` an image once, `decode` any number of texts over it."""

    def __init__(self, config: GitConfig) -> None:
        super().__init__()
        self.config = config
        encoder, decoder = config.image_encoder, config.text_decoder
        self.image_encoder: ImageEncoder = (
            ClipVit(encoder) if isinstance(encoder, ClipVitConfig) else EfficientNetLite(encoder)
        )
        self.temporal_embedding = nn.Parameter(torch.zeros(config.frames, encoder.width)) if config.frames else None
        self.projection = nn.Linear(encoder.width, decoder.width)
        self.projection_norm = nn.LayerNorm(decoder.width, config.projection_norm_eps)
        self.text_decoder = TextDecoder(decoder)
        for module in (self.projection, *self.text_decoder.modules()):
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def visual_features(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, height, width) or frames (B, F, 3, height, width) → features before the projection (B, I, D).

        Each frame goes through the image encoder separately and gets its temporal embedding; then they are
        concatenated. Raises InputError for a video on an image model, or for more frames than temporal embeddings.
        """
        if pixels.dim() not in (4, 5) or pixels.shape[-3] != 3:
            raise InputError(
                "pixels must be (images, 3, height, width) or (videos, frames, 3, height, width), "
                f"not {tuple(pixels.shape)}"
            )
        if pixels.dim() == 4:
            return self.image_encoder(pixels)
        videos, frames = pixels.shape[:2]
        if self.temporal_embedding is None:
            raise InputError(
                f"this checkpoint has no temporal embeddings: it takes an image, not a video of {frames} frames"
            )
        if frames > len(self.temporal_embedding):
            raise InputError(
                f"a video of {frames} frames, but the checkpoint has {len(self.temporal_embedding)} temporal embeddings"
            )
        features = self.image_encoder(pixels.flatten(0, 1)).unflatten(0, (videos, frames))
        return (features + self.temporal_embedding[:frames, None]).flatten(1, 2)

    def project(self, features: Tensor) -> Tensor:
        """Visual features (B, I, visual width) → image embeddings of the text decoder (B, I, D)."""
        return self.projection_norm(self.projection(features))

    def prefix_of(self, features: Tensor, room: int = 0) -> ImagePrefix:
        """Visual features (B, I, visual width) → the image prefix, with `room` text slots behind it."""
        return self.text_decoder.encode_image(self.project(features), room)

    def encode(self, pixels: Tensor, room: int = 0) -> ImagePrefix:
        """Pixels (B, 3, height, width) or (B, F, 3, height, width) → the image prefix; text never changes it."""
        return self.prefix_of(self.visual_features(pixels), room)

    def decode(
        self, tokens: Tensor, prefix: ImagePrefix, position: Tensor | None = None, text: Tensor | None = None
    ) -> Tensor:
        """Hidden states (B, P, T, D) of P whole texts per image, `tokens` (B, P, T): see `TextDecoder.decode`."""
        return self.text_decoder.decode(tokens, prefix, position, text)

    def decode_next(self, tokens: Tensor, cache: TextCache, position: Tensor | None = None) -> Tensor:
        """Hidden states (B, P, T, D) of what comes next in a cache's texts: see `TextDecoder.decode_next`."""
        return self.text_decoder.decode_next(tokens, cache, position)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (…, D) → logits (…, V); call it only where a token is chosen or predicted."""
        return self.text_decoder.output(hidden)

    def next_logits(self, token: Tensor, cache: TextCache, position: Tensor) -> Tensor:
        """Logits (B, P, V), in float32, after the newest token of each text: `token` at `position`, both (B, P)."""
        return self.logits(self.decode_next(token[..., None], cache, position[..., None])[:, :, 0]).float()

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, P, T, V) for P texts per image, `tokens` (B, P, T): each token predicts the one after it."""
        return self.logits(self.decode(tokens, self.encode(pixels)))

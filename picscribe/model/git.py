"""GIT: an image encoder, a projection and a text decoder (Wang et al., 2022, arXiv 2205.14100, section 3)."""

import torch
from torch import Tensor, nn

from picscribe.errors import InputError
from picscribe.model.clip_vit import ClipVit
from picscribe.model.config import ClipVitConfig, GitConfig
from picscribe.model.efficientnet_lite import EfficientNetLite
from picscribe.model.text_cache import ImagePrefix, TextCache
from picscribe.model.text_decoder import TextDecoder

ImageEncoder = ClipVit | EfficientNetLite


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

        Frames go through the image encoder alone, take a temporal embedding each, and stand one after the other.
        Raises InputError for a video on an image model, or for more frames than temporal embeddings.
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

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, P, T, V) for P texts per image, `tokens` (B, P, T): each token predicts the one after it."""
        return self.logits(self.decode(tokens, self.encode(pixels)))

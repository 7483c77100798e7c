"""GIT: an image encoder, a projection and a text decoder (Wang et al., 2022, arXiv 2205.14100, section 3)."""

import torch
from torch import Tensor, nn

from picscribe.errors import InputError
from picscribe.model.clip_vit import ClipVit
from picscribe.model.config import ClipVitConfig, GitConfig, ImageEncoderConfig
from picscribe.model.efficientnet_lite import EfficientNetLite, EfficientNetLites
from picscribe.model.linear import Linear, pack_layers, quantize_layers
from picscribe.model.text_decoder import ImagePrefix, TextCache, TextDecoder

ImageEncoder = ClipVit | EfficientNetLite | EfficientNetLites


def make_image_encoder(config: ImageEncoderConfig) -> ImageEncoder:
    """An image encoder of these sizes."""
    if isinstance(config, ClipVitConfig):
        return ClipVit(config)
    only, *others = config.variants
    return EfficientNetLites(config) if others else EfficientNetLite(only, config.tokens, config.features)


class Git(nn.Module):
    """Pixels in, words out. `encode` an image once, `decode` any number of texts over it."""

    def __init__(self, config: GitConfig) -> None:
        super().__init__()
        self.config = config
        encoder, decoder = config.image_encoder, config.text_decoder
        self.image_encoder = make_image_encoder(encoder)
        self.temporal_embedding = nn.Parameter(torch.zeros(config.frames, encoder.width)) if config.frames else None
        self.projection = Linear(encoder.width, decoder.width)
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

    def prefix_of(self, features: Tensor, room: int = 0) -> ImagePrefix:
        """Visual features (B, I, visual width) → the image prefix, with `room` text slots behind it."""
        return self.text_decoder.encode_image(self.projection_norm(self.projection(features)), room)

    def encode(self, pixels: Tensor, room: int = 0) -> ImagePrefix:
        """Pixels (B, 3, height, width) or (B, F, 3, height, width) → the image prefix; text never changes it."""
        return self.prefix_of(self.visual_features(pixels), room)

    def decode(
        self,
        tokens: Tensor,
        prefix: ImagePrefix,
        cache: TextCache | None = None,
        position: Tensor | None = None,
        text: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (B, P, T, D) of P texts an image, `tokens` (B, P, T): see `TextDecoder.forward`."""
        return self.text_decoder(tokens, prefix, cache, position, text)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (…, D) → logits (…, V); call it only where a token is chosen or predicted."""
        return self.text_decoder.output(hidden)

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, P, T, V) for P texts an image, `tokens` (B, P, T): each token predicts the one after it."""
        return self.logits(self.decode(tokens, self.encode(pixels)))

    def pack(self) -> "Git":
        """Lay the weights out for inference on a CPU (see linear.py), and return this; elsewhere do nothing.

        Takes as much memory again as the weights, which go back to the system where they are mapped from a file.
        """
        pack_layers(self)
        return self

    def quantize(self) -> "Git":
        """Make the linear layers int8 (see int8_linear.py), one by one, and return this; for inference on a CPU.

        Embeddings and convolutions stay, the patches' and those of EfficientNet-Lite.
        """
        quantize_layers(self)
        return self

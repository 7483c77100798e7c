"""The network and only the network: pixels and tokens in, logits out.

Axes, for the whole project: B images (or videos), F frames of a video, P texts of an image (prompts, beams,
captions), I image tokens, T text tokens, S text slots of a cache, D width, H heads, V vocabulary.
"""

from picscribe.model.attention import ImagePrefix, TextCache
from picscribe.model.config import ClipVitConfig, EfficientNetLiteConfig, GitConfig, TextDecoderConfig
from picscribe.model.git import Git

__all__ = [
    "ClipVitConfig",
    "EfficientNetLiteConfig",
    "Git",
    "GitConfig",
    "ImagePrefix",
    "TextCache",
    "TextDecoderConfig",
]

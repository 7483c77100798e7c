"""Which network sees the pixels, by its sizes."""

from picscribe.model.clip_vit import ClipVit
from picscribe.model.config import ClipVitConfig, ImageEncoderConfig
from picscribe.model.efficientnet_lite import EfficientNetLite, EfficientNetLites

ImageEncoder = ClipVit | EfficientNetLite | EfficientNetLites


def make_image_encoder(config: ImageEncoderConfig) -> ImageEncoder:
    """An image encoder of these sizes, its weights yet to be loaded or learned."""
    if isinstance(config, ClipVitConfig):
        return ClipVit(config)
    if len(config.variants) > 1:
        return EfficientNetLites(config)
    return EfficientNetLite(config.variants[0], config.tokens)

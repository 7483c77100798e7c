"""Sizes of the network as frozen dataclasses; the defaults are GIT-base's (arXiv 2205.14100, table 1)."""

from dataclasses import dataclass, field

from picscribe.errors import ConfigurationError


def _require_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise ConfigurationError(
                f"{type(config).__name__}.{name} must be a whole number of at least 1, not {value!r}"
            )


def _require_divisible(config: object, whole: str, part: str) -> None:
    if getattr(config, whole) % getattr(config, part):
        raise ConfigurationError(
            f"{type(config).__name__}.{whole} ({getattr(config, whole)}) must be a multiple of "
            f"{part} ({getattr(config, part)})"
        )


@dataclass(frozen=True)
class ClipVitConfig:
    """CLIP's vision transformer; the defaults are ViT-B/16."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    patch_size: int = 16
    image_size: int = 224
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _require_positive(self, "width", "layers", "heads", "mlp_width", "patch_size", "image_size")
        _require_divisible(self, "width", "heads")
        if self.image_size < self.patch_size:
            raise ConfigurationError(
                f"ClipVitConfig.image_size ({self.image_size}) is smaller than one patch ({self.patch_size})"
            )

    @property
    def grid(self) -> int:
        """Patches along one side of an image of `image_size`."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Image tokens of an image of `image_size`, the class token included."""
        return self.grid**2 + 1


LITE_VARIANTS = (0, 1, 2)


@dataclass(frozen=True)
class EfficientNetLiteConfig:
    """EfficientNet-Lite 0, 1 or 2 as a small convolutional image encoder."""

    variant: int = 2
    image_size: int = 256

    stride = 32
    width = 1280

    def __post_init__(self) -> None:
        if self.variant not in LITE_VARIANTS:
            raise ConfigurationError(f"EfficientNetLiteConfig.variant must be 0, 1 or 2, not {self.variant!r}")
        _require_positive(self, "image_size")

    @property
    def grid(self) -> int:
        """Cells along one side of the feature map of an image of `image_size`."""
        return -(-self.image_size // self.stride)

    @property
    def tokens(self) -> int:
        """Image tokens of an image of `image_size`."""
        return self.grid**2


ImageEncoderConfig = ClipVitConfig | EfficientNetLiteConfig


@dataclass(frozen=True)
class TextDecoderConfig:
    """The text decoder; `embedding_norm_eps` is 1e-8 in the original code and 1e-12 in the Hugging Face port."""

    vocabulary_size: int = 30522
    width: int = 768
    layers: int = 6
    heads: int = 12
    mlp_width: int = 3072
    max_positions: int = 1024
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12
    embedding_norm_eps: float = 1e-12
    tie_output: bool = False
    pad_id: int = 0
    cls_id: int = 101
    sep_id: int = 102

    def __post_init__(self) -> None:
        _require_positive(self, "vocabulary_size", "width", "layers", "heads", "mlp_width", "max_positions")
        _require_divisible(self, "width", "heads")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"TextDecoderConfig.{name} must be in [0, 1), not {getattr(self, name)!r}")
        for name in ("pad_id", "cls_id", "sep_id"):
            if not 0 <= getattr(self, name) < self.vocabulary_size:
                raise ConfigurationError(
                    f"TextDecoderConfig.{name} ({getattr(self, name)}) lies outside the vocabulary of "
                    f"{self.vocabulary_size} words"
                )


@dataclass(frozen=True)
class GitConfig:
    """The whole network; `frames` is the number of temporal embeddings: 0 for images, 6 in released video models."""

    image_encoder: ImageEncoderConfig = field(default_factory=ClipVitConfig)
    text_decoder: TextDecoderConfig = field(default_factory=TextDecoderConfig)
    frames: int = 0
    projection_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if not isinstance(self.frames, int) or self.frames < 0:
            raise ConfigurationError(
                f"GitConfig.frames must be 0 (images) or the number of temporal embeddings, not {self.frames!r}"
            )

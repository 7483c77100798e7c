"""Where pairs of images and captions come from: one reader a format, all giving `CaptionedImage`."""

from picscribe.datasets.examples import CaptionedImage
from picscribe.datasets.karpathy import read_karpathy

__all__ = ["CaptionedImage", "read_karpathy"]

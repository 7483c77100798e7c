"""Any image in, pixels out: opening images safely, and shaping them exactly as a checkpoint expects.

Names are imported on first use: folders can be searched without importing NumPy and Pillow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from picscribe.media.folders import FolderContent, find_images
    from picscribe.media.images import ImageLimits, ImageSource, open_image
    from picscribe.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

_HOMES = {
    "IMAGE_SUFFIXES": "suffixes",
    "VIDEO_SUFFIXES": "suffixes",
    "FolderContent": "folders",
    "ImageLimits": "images",
    "ImageSource": "images",
    "find_images": "folders",
    "open_image": "images",
}

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "FolderContent",
    "ImageLimits",
    "ImageSource",
    "find_images",
    "open_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

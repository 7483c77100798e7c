"""Any image in, pixels out: opening images safely, and shaping them exactly as a checkpoint expects.

`picscribe.media.preprocessing` stands apart, as it imports torch and opening images does not.
"""

from picscribe.media.folders import FolderContent, find_images
from picscribe.media.images import ImageLimits, ImageSource, open_image
from picscribe.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "FolderContent",
    "ImageLimits",
    "ImageSource",
    "find_images",
    "open_image",
]

"""Any image in, pixels out: opening images safely, and shaping them exactly as a checkpoint expects.

`picscribe.media.preprocessing` stands apart, as it imports torch and opening images does not.
"""

from picscribe.media.images import IMAGE_SUFFIXES, FolderContent, ImageLimits, ImageSource, find_images, open_image

__all__ = ["IMAGE_SUFFIXES", "FolderContent", "ImageLimits", "ImageSource", "find_images", "open_image"]

"""The usual suffixes of photos and videos: the one list that the whole package guesses by.

For a first guess only, such as which files of a folder to look at. Files are opened by what they hold, never by name.
"""

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".dib",
    ".avif", ".avifs", ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".j2c", ".jpx", ".jpf", ".ico", ".icns",
    ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".pcx", ".psd", ".qoi", ".sgi", ".dds",
))
"""Photos. Those of HEIF and JPEG XL too, so that one which no installed package reads is reported, not overlooked."""

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp", ".3g2", ".ts",
    ".mts", ".m2ts", ".m2v", ".asf", ".vob", ".f4v", ".qt",
)
"""Videos, the suffixes that data sets come with first."""
# fmt: on
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
"""Photos that need the extra `heic`."""

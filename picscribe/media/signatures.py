"""What the first bytes of a file tell: a video and its container, an animation, a photo, or something else."""

import re

START = 1024
"""Bytes that tell a file's kind."""

# How a file begins → FFmpeg's name of its format. Named, FFmpeg guesses nothing: playlists and the like, which name
# other files and addresses, are never taken for a video.
CONTAINERS = (
    (re.compile(rb"....(ftyp|moov|mdat|wide|free|skip|pnot)", re.S), "mov"),
    (re.compile(rb"\x1aE\xdf\xa3"), "matroska"),
    (re.compile(rb"RIFF....AVI ", re.S), "avi"),
    (re.compile(rb"\x47.{187}\x47.{187}\x47", re.S), "mpegts"),
    (re.compile(rb".{4}\x47.{191}\x47.{191}\x47", re.S), "mpegts"),
    (re.compile(rb"\0\0\x01\xba"), "mpeg"),
    (re.compile(rb"\0\0\x01\xb3"), "mpegvideo"),
    (re.compile(rb"\0\0\0?\x01[\x67\x27\x47\x09]", re.S), "h264"),
    (re.compile(rb"FLV\x01"), "flv"),
    (re.compile(rb"OggS"), "ogg"),
    (re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), "asf"),
    (re.compile(rb"DKIF\0\0"), "ivf"),
    (re.compile(rb"YUV4MPEG2 "), "yuv4mpegpipe"),
)

AVIF = (b"avif", b"avis")
HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""Brands of photos in MP4's clothing."""

STILLS = (*AVIF, *HEIF, b"crx ", b"jxl ", b"jp2 ", b"jpx ")

ANIMATIONS = re.compile(rb"GIF8|\x89PNG\r\n\x1a\n|RIFF....WEBP|....ftyp(?:avif|avis)", re.S)
IMAGES = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*", re.S)

# How content starts that is often given for an image → what it is and what to do.
OTHERS = (
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "EPS or PostScript, which is a program; convert it to PNG"),
    (re.compile(rb"%PDF"), "a PDF; convert its page to PNG"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml|<!DOCTYPE svg|<svg)"), "an SVG drawing or other XML; convert it to PNG"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", re.I), "a web page; download the image itself"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer; run `git lfs pull`"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "a JPEG XL photo; convert it to JPEG"),
    (
        re.compile(rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", re.S),
        "a video; caption it with a model for videos, or ask for 1 frame of it",
    ),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"), "an archive; unpack it first"),
)


def container_format(head: bytes) -> str | None:
    """FFmpeg's name of the format that a file begins with; None for what is no video."""
    if head[4:8] == b"ftyp" and head[8:12] in STILLS:
        return None
    return next((form for begins, form in CONTAINERS if begins.match(head)), None)


def may_be_animation(head: bytes) -> bool:
    """Whether a file of this beginning can be an image of several frames."""
    return ANIMATIONS.match(head) is not None


def may_hold_frames(head: bytes) -> bool:
    """Whether a file of this beginning is a video, or can be an animation."""
    return container_format(head) is not None or may_be_animation(head)


def is_heif(head: bytes) -> bool:
    """Whether it begins as a photo in HEIF does, such as HEIC."""
    return head[4:8] == b"ftyp" and head[8:12] in HEIF


def what_it_is(content: bytes) -> str:
    """What Pillow knows no format of, in words, and what to do."""
    if IMAGES.match(content) or (content[4:8] == b"ftyp" and content[8:12] in AVIF):
        return "damaged or incomplete: it starts as an image does, but its header cannot be read; download it again"
    for start, what in OTHERS:
        if start.match(content):
            return f"not an image but {what}"
    return f"not an image that can be read (it starts with {content[:12]!r}): give a JPEG, PNG, WebP, GIF, TIFF or BMP"

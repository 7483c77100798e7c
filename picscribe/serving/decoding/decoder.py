"""The process that opens what strangers sent: bytes in; pixels, a preview or texts out. It reaches nothing else.

It may die over a file; the service starts another. Everything is imported before `confine`, as nothing can be after it.
"""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.serving.child import Gone, own_streams, read_message, write_message
from picscribe.serving.safety.sandbox import allow_time, confine

PHOTO_FORMATS = (
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "GIF",
    "TIFF",
    "BMP",
    "AVIF",
    "HEIF",
    "JPEG2000",
    "ICO",
    "PPM",
    "TGA",
    "QOI",
)
"""Of the formats that Pillow reads, those that people send; its other decoders are never reached from the network."""

PREVIEW_QUALITY = 85

Job: TypeAlias = Callable[..., tuple[dict[str, Any], bytes]]


def main() -> None:
    """Answer messages until there are no more. Arguments: bytes of memory."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # a thread that is there before `confine` would not be confined
    coming, going = own_streams()
    warnings.simplefilter("ignore")
    decode = _prepare()
    placed = confine(int(sys.argv[2]))
    write_message(going, {"ready": placed})
    with contextlib.suppress(Gone, BrokenPipeError):
        while True:
            header, content = read_message(coming)
            allow_time(header["time"])
            write_message(going, *_answer(decode, header, content))


def _prepare() -> dict[str, Job]:
    """Import whatever could be needed: opening files is over afterwards."""
    from PIL import Image

    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    for form in set(Image.OPEN) - set(PHOTO_FORMATS):
        del Image.OPEN[form]
    Image.ID[:] = [form for form in Image.ID if form in Image.OPEN]
    jobs: dict[str, Job] = {"pixels": _pixels, "preview": _preview, "texts": _texts}
    # What Pillow and Python import at first use: every job is done once on a photo of each usual format.
    shape: dict[str, Any] = {"preprocessing": {}, "frames": 0, "model": "", "hours": 1, "video": {}}
    for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (90, 120, 30)).save(buffer, form)
        for name, job in jobs.items():
            more: dict[str, Any] = {"pixels": shape, "preview": {"side": 32}}.get(name, {})
            job(buffer.getvalue(), name="photo", most_pixels=10_000, **more)
    with contextlib.suppress(ImportError):
        video = _short_video()
        _pixels(video, name="video", most_pixels=10_000, **(shape | {"video": {"frames": 1}}))
        _preview(video, name="video", most_pixels=10_000, side=32)
    return jobs


def _short_video() -> bytes:
    import av
    from PIL import Image

    frame_of: Callable[[Image.Image], av.VideoFrame] = av.VideoFrame.from_image
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as film:
        stream = film.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.thread_count = 64, 48, "yuv420p", 1
        for _ in range(2):
            film.mux(stream.encode(frame_of(Image.new("RGB", (64, 48)))))
        film.mux(stream.encode())
    return buffer.getvalue()


def _answer(jobs: dict[str, Job], header: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        return jobs[header["do"]](content, **header["with"])
    except ConfigurationError as error:
        return {"error": str(error), "option": True}, b""
    except PicscribeError as error:
        return {"error": str(error)}, b""
    except MemoryError:
        return {"error": f"{header['with']['name']} needs more memory than a request may take: shrink it"}, b""
    except Exception as error:  # a decoder's own: the file is at fault
        return {"error": f"{header['with']['name']} cannot be decoded ({type(error).__name__})"}, b""


def _pixels(
    content: bytes,
    name: str,
    most_pixels: int,
    hours: float,
    preprocessing: dict[str, Any],
    frames: int,
    model: str,
    video: dict[str, Any],
) -> tuple[dict[str, Any], bytes]:
    """What a network is given before it is normalised: uint8, (3, height, width), of a video (F, 3, height, width)."""
    from picscribe.media.preprocessing import Preprocessing, levels_of
    from picscribe.media.video import Video, duration_of, is_video

    shape = Preprocessing(**preprocessing)
    if is_video(content) and (frames or video):
        _check_duration(name, duration_of(content), hours)
        levels = levels_of(Video(content, **video), shape, frames, model)
    else:
        levels = levels_of(_checked(content, name, most_pixels), shape, frames, model)
    return {"shape": list(levels.shape)}, levels.tobytes()


def _check_duration(name: str, seconds: float, hours: float) -> None:
    if seconds > hours * 3600:
        raise InputError(f"{name} lasts {seconds / 3600:.1f} hours, over the limit of {hours}: cut it")


def _checked(content: bytes, name: str, most_pixels: int) -> io.BytesIO:
    """The photo as a stream of that name. Raises InputError for one that its header says is too large."""
    from PIL import Image

    stream = io.BytesIO(content)
    stream.name = name
    try:
        with Image.open(io.BytesIO(content), formats=[f for f in PHOTO_FORMATS if f in Image.OPEN]) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} has too many pixels: shrink it first") from error
    except Exception:  # a decoder's own, or Pillow's that it is no image
        return stream  # `open_image` says what it is, or what is wrong with it
    if width * height > most_pixels:
        raise InputError(f"{name} is {width}×{height} pixels, over the limit of {most_pixels}: shrink it first")
    return stream


def _preview(content: bytes, name: str, most_pixels: int, side: int) -> tuple[dict[str, Any], bytes]:
    """A JPEG of at most `side` pixels a side, without metadata; of a video a frame."""
    from picscribe.media.images import open_image
    from picscribe.media.video import is_video, read_frames

    stream = _checked(content, name, most_pixels)
    image = read_frames(content, 1)[0] if is_video(content) else open_image(stream, at_least=side)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return {"width": image.width, "height": image.height}, buffer.getvalue()


def _texts(content: bytes, name: str, most_pixels: int) -> tuple[dict[str, Any], bytes]:
    """What the photo's metadata says about it in words."""
    from picscribe.serving.decoding import photo_texts

    _checked(content, name, most_pixels)
    return photo_texts.read(content), b""

"""Photos, animations and videos damaged at random: an error of ours in one line, or a picture; never anything else."""

import io
import random
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from picscribe.errors import PicscribeError
from picscribe.media import open_image
from picscribe.media.video import duration_of, is_video, read_frames, windows

av = pytest.importorskip("av")

Image.init()  # so that Image.SAVE knows every format
WIDTH, HEIGHT = 64, 48
MOVING = ("GIF", "WEBP", "PNG", "AVIF")
EXTREMES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\xff\xff", b"\x80\0\0\0", b"\0\0\0\1")


def pictures() -> list[Image.Image]:
    blocks = np.random.default_rng(1).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
    return [Image.fromarray(block).resize((WIDTH, HEIGHT)) for block in blocks]


def image(form: str) -> bytes:
    first, *others = pictures()
    if form == "HEIC":
        heif = pytest.importorskip("pillow_heif").from_pillow(first)
        stream = io.BytesIO()
        heif.save(stream)
        return stream.getvalue()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {form}")
    stream = io.BytesIO()
    moves = (
        {"save_all": True, "append_images": others, "duration": 100} if form in ("GIF", "WEBP", "PNG", "AVIF") else {}
    )
    first.save(stream, form, **moves)
    return stream.getvalue()


def video(form: str, codec: str, sound: str | None) -> bytes:
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV cannot write {codec}")
    stream = io.BytesIO()
    with av.open(stream, "w", format=form) as container:
        shown = container.add_stream(codec, rate=10)
        shown.width, shown.height, shown.pix_fmt, shown.gop_size = WIDTH, HEIGHT, "yuv420p", 4
        heard = container.add_stream(sound, rate=48000) if sound else None
        for number in range(12):
            container.mux(shown.encode(av.VideoFrame.from_image(pictures()[number % 5])))
        container.mux(shown.encode())
        if heard:
            for number in range(20):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 48000, 4800 * number
                container.mux(heard.encode(frame))
            container.mux(heard.encode())
    return stream.getvalue()


VIDEOS = {
    "mp4": ("mp4", "libx264", None),
    "mkv": ("matroska", "libx264", "aac"),
    "webm": ("webm", "libvpx-vp9", "libopus"),
    "avi": ("avi", "mpeg4", None),
    "flv": ("flv", "flv", "aac"),
    "ts": ("mpegts", "mpeg2video", None),
    "mpeg": ("mpeg", "mpeg2video", None),
    "h264": ("h264", "libx264", None),
    "asf": ("asf", "wmv2", None),
}
FORMS = ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "JPEG2000", "ICO", "HEIC", *VIDEOS]


def damage(content: bytes, chance: random.Random) -> bytes:
    """Bytes changed, set to extremes, doubled, dropped or cut off, mostly near the beginning."""
    data = bytearray(content)
    kind = chance.randrange(6)
    for _ in range(chance.choice([1, 1, 2, 4, 12])):
        place = chance.randrange(min(len(data), chance.choice([64, 256, len(data)])))
        length = chance.randrange(1, 100)
        if kind == 0:
            data[place] = chance.randrange(256)
        elif kind == 1:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 2:
            data[place : place + 4] = chance.choice(EXTREMES)
        elif kind == 3:
            data[place:place] = data[place : place + length]
        elif kind == 4:
            del data[place : place + length]
        else:
            return bytes(data[: chance.randrange(len(data))])
        if not data:
            return b""
    return bytes(data)


USES: list[Callable[[bytes], object]] = [
    open_image,
    is_video,
    duration_of,
    lambda content: read_frames(content, 6),
    lambda content: read_frames(io.BytesIO(content), 3, start=0.2),
    lambda content: windows(content, 0.5),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
def test_damaged_at_random(form: str) -> None:
    content = video(*VIDEOS[form]) if form in VIDEOS else image(form)
    chance = random.Random(form)
    errors = 0
    for _ in range(40):
        damaged = damage(content, chance)
        for use in USES:
            try:
                use(damaged)
            except PicscribeError as error:
                errors += 1
                assert "\n" not in str(error) and len(str(error)) < 600
    assert errors  # else nothing was damaged

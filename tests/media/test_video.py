"""Frames of real files, each of which shows its number, against a decoder that reads everything."""

import io
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from picscribe.errors import ConfigurationError, InputError
from picscribe.media import open_image
from picscribe.media.video import Video, VideoLimits, duration_of, is_video, read_frames, windows

av = pytest.importorskip("av")

WIDTH, HEIGHT, BITS = 96, 48, 6


def picture(number: int) -> Image.Image:
    """Six bars, white where the number has a bit."""
    bars = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            bars[:, bit * WIDTH // BITS : (bit + 1) * WIDTH // BITS] = 255
    return Image.fromarray(bars)


def number_of(image: Image.Image) -> int:
    """The number that a frame shows."""
    grey = np.asarray(image.convert("L").resize((WIDTH, HEIGHT)), float)
    bars = [grey[8:-8, bit * WIDTH // BITS + 4 : (bit + 1) * WIDTH // BITS - 4].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, value in enumerate(bars) if value > 128)


def write(
    path: Path,
    codec: str,
    count: int,
    rate: int = 10,
    form: str | None = None,
    times: list[int] | None = None,
    **options: str,
) -> Path:
    """A video of `count` numbered frames; `times` are milliseconds where the rate varies."""
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV cannot write {codec}")
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = 8
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            frame = av.VideoFrame.from_image(picture(number))
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def numbers(source: Any, count: int = 6, **part: Any) -> list[int]:
    return [number_of(frame) for frame in read_frames(source, count, **part)]


def middles(count: int, frames: int) -> list[int]:
    """Which of `frames` evenly timed frames stand in the middle of `count` equal stretches."""
    return sorted({int((i + 0.5) * frames / count) for i in range(count)})


FILES = {
    "h264.mp4": ("libx264", {}),
    "h264.mkv": ("libx264", {}),
    "h264.mov": ("libx264", {}),
    "hevc.mp4": ("libx265", {}),
    "vp9.webm": ("libvpx-vp9", {}),
    "vp8.webm": ("libvpx", {}),
    "av1.mkv": ("libsvtav1", {}),
    "mpeg4.avi": ("mpeg4", {}),
    "mjpeg.mov": ("mjpeg", {}),
    "mpeg2.ts": ("mpeg2video", {}),
    "h264.ts": ("libx264", {}),
    "flv.flv": ("flv", {}),
    "wmv2.asf": ("wmv2", {}),
    "h264.h264": ("libx264", {}),
}


@pytest.mark.parametrize("name", FILES)
def test_every_container_and_codec(name: str, tmp_path: Path) -> None:
    codec, options = FILES[name]
    path = write(tmp_path / name, codec, 40, **options)
    assert is_video(path)
    # A raw stream holds no times: it is read at 25 frames a second.
    assert duration_of(path) == pytest.approx(1.6 if name.endswith(".h264") else 4.0, abs=0.25)
    for count in (1, 3, 6):
        found, expected = numbers(path, count), middles(count, 40)
        assert len(found) == count
        # A stretch's middle may fall between two frames, and a container may begin a frame late.
        assert all(abs(mine - theirs) <= 1 for mine, theirs in zip(found, expected, strict=True)), (found, expected)
    assert numbers(path, 64) == list(range(40))
    data = path.read_bytes()
    assert numbers(data) == numbers(path) == numbers(io.BytesIO(data))
    assert is_video(data)
    assert all(frame.size == (WIDTH, HEIGHT) and frame.mode == "RGB" for frame in read_frames(path))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations(form: str, tmp_path: Path) -> None:
    if form == "AVIF" and "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / f"moving.{form.lower()}"
    shown = [200] * 10 + [800] * 10
    frames = [picture(number) for number in range(20)]
    settings = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(path, form, save_all=True, append_images=frames[1:], duration=shown, loop=0, **settings)
    assert is_video(path)
    assert duration_of(path) == pytest.approx(10.0, abs=0.2)
    assert numbers(path, 5) == [5, 11, 13, 16, 18]
    assert numbers(path, 64) == list(range(20))
    assert numbers(path, 2, end=2.0) == [2, 7]
    frames[0].save(path, form)
    assert not is_video(path)


def test_a_variable_frame_rate_goes_by_time(tmp_path: Path) -> None:
    """Ten frames in the first second, ten in the next nine."""
    times = [100 * number for number in range(10)] + [1000 + 900 * number for number in range(10)]
    path = write(tmp_path / "varies.mkv", "libx264", 20, rate=30, times=times)
    lasts = duration_of(path)
    wanted = [1000 * lasts * (i + 0.5) / 5 for i in range(5)]
    assert numbers(path, 5) == [max(n for n, time in enumerate(times) if time <= middle) for middle in wanted]
    assert numbers(path, 4, end=0.8) == [1, 3, 5, 7]


# A display matrix shows pixel (x, y) at (ax + cy, bx + dy): (a, b, c, d) → where the four corners of the file are then
# seen, top left, top right, bottom left, bottom right. Written out, after what FFmpeg's own player shows.
SHOWN = {
    (1, 0, 0, 1): "ABCD",
    (-1, 0, 0, 1): "BADC",
    (1, 0, 0, -1): "CDAB",
    (-1, 0, 0, -1): "DCBA",
    (0, 1, 1, 0): "ACBD",
    (0, 1, -1, 0): "CADB",
    (0, -1, 1, 0): "BDAC",
    (0, -1, -1, 0): "DBCA",
}
CORNERS = {"A": (250, 0, 0), "B": (0, 250, 0), "C": (0, 0, 250), "D": (250, 250, 0)}


@pytest.fixture(scope="module")
def cornered(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video whose corners are A red, B green, C blue, D yellow."""
    corners = np.array([[CORNERS["A"], CORNERS["B"]], [CORNERS["C"], CORNERS["D"]]], np.uint8)
    image = Image.fromarray(corners).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
    path = tmp_path_factory.mktemp("corners") / "corners.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return path.read_bytes()


def with_matrix(content: bytes, matrix: Sequence[float]) -> bytes:
    """The matrix in the track's header."""
    data = bytearray(content)
    header = data.index(b"tkhd")
    a, b, c, d = (round(value * 65536) for value in matrix)
    data[header + 44 : header + 80] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return bytes(data)


def corners_of(image: Image.Image) -> str:
    places = [(8, 8), (image.width - 9, 8), (8, image.height - 9), (image.width - 9, image.height - 9)]
    seen = [np.array(image.getpixel(place)) for place in places]
    return "".join(min(CORNERS, key=lambda name: np.abs(colour - CORNERS[name]).sum()) for colour in seen)


@pytest.mark.parametrize("scale", [1, 0.5, 2])
@pytest.mark.parametrize("matrix", SHOWN)
def test_turned_and_mirrored_files_come_upright(matrix: tuple[int, ...], scale: float, cornered: bytes) -> None:
    """Phones write what the sensor saw, a front camera mirrored, and how to show it in the track's header."""
    (frame,) = read_frames(with_matrix(cornered, [scale * value for value in matrix]), 1)
    assert frame.size == ((WIDTH, HEIGHT) if matrix[0] else (HEIGHT, WIDTH))
    assert corners_of(frame) == SHOWN[matrix]


def test_other_angles(cornered: bytes) -> None:
    """A third of a right angle clockwise, then the same of a mirrored picture."""
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    upright = Image.fromarray(np.asarray(read_frames(cornered, 1)[0]))
    (frame,) = read_frames(with_matrix(cornered, (cos, sin, -sin, cos)), 1)
    assert np.array_equal(np.asarray(frame), np.asarray(upright.rotate(-30, expand=True)))
    (frame,) = read_frames(with_matrix(cornered, (-cos, -sin, -sin, cos)), 1)
    mirrored = upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert np.array_equal(np.asarray(frame), np.asarray(mirrored.rotate(-30, expand=True)))
    (frame,) = read_frames(with_matrix(cornered, (0, 0, 0, 0)), 1)
    assert corners_of(frame) == "ABCD"


def with_sound(path: Path, form: str, seconds: float, codec: str) -> Path:
    """Three seconds of numbered frames, and as much sound as is asked for."""
    with av.open(str(path), "w", format=form) as container:
        video = container.add_stream(codec, rate=10)
        video.width, video.height, video.pix_fmt, video.gop_size = WIDTH, HEIGHT, "yuv420p", 8
        sound = container.add_stream("libopus" if form == "webm" else "aac", rate=48000)
        for number in range(30):
            container.mux(video.encode(av.VideoFrame.from_image(picture(number))))
        container.mux(video.encode())
        for second in range(int(seconds * 10)):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, second * 4800, Fraction(1, 48000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


@pytest.mark.parametrize("seconds", [1, 10])
@pytest.mark.parametrize(
    ("form", "codec"),
    [("matroska", "libx264"), ("webm", "libvpx-vp9"), ("mp4", "mpeg4"), ("flv", "flv"), ("avi", "mpeg4")],
)
def test_it_lasts_as_long_as_its_picture(form: str, codec: str, seconds: float, tmp_path: Path) -> None:
    path = with_sound(tmp_path / "sound", form, seconds, codec)
    assert duration_of(path) == pytest.approx(3.0, abs=0.15)
    assert windows(path, 2) == [(0, 2), (2, pytest.approx(3.0, abs=0.15))]
    # AVI begins a frame late.
    assert numbers(path, 3) == numbers(path.read_bytes(), 3) == ([4, 14, 24] if form == "avi" else [5, 15, 25])


def test_no_more_than_a_limit_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six frames of an hour with one key frame are an hour of decoding."""
    path = write(tmp_path / "long.mp4", "mpeg4", 60)
    monkeypatch.setattr("picscribe.media.video_file.MOST_DECODED", 30 * WIDTH * HEIGHT)
    assert numbers(path, 2, end=2.0) == [5, 15]
    with pytest.raises(InputError, match="takes too long"):
        read_frames(path, 64)


def test_an_animation_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(0).save(tmp_path / "a.gif", save_all=True, append_images=[picture(n) for n in range(1, 9)], duration=100)
    assert len(read_frames(tmp_path / "a.gif", 64)) == 9
    monkeypatch.setattr("picscribe.media.animation.MOST_PIXELS", 8 * WIDTH * HEIGHT)
    monkeypatch.setattr("picscribe.media.animation.Animation._times", lambda *_: pytest.fail("decoded"))
    for source in (tmp_path / "a.gif", Image.open(tmp_path / "a.gif")):
        with pytest.raises(InputError, match="9 frames of 96×48 pixels, over the limit"):
            read_frames(source)


def test_the_default_image_of_an_animated_png_is_not_a_frame() -> None:
    stream = io.BytesIO()
    picture(9).save(stream, "PNG", save_all=True, append_images=[picture(n) for n in (1, 2)], default_image=True)
    assert numbers(stream.getvalue()) == [1, 2]
    assert number_of(open_image(stream.getvalue())) == 9


def test_animations_are_turned_by_their_exif_data(cornered: bytes) -> None:
    frames = [*read_frames(cornered, 1), Image.new("RGB", (WIDTH, HEIGHT))]
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], exif=exif, lossless=True)
    assert corners_of(read_frames(stream.getvalue())[0]) == corners_of(open_image(stream.getvalue())) == "CADB"


def test_one_frame(tmp_path: Path) -> None:
    assert numbers(write(tmp_path / "one.mp4", "libx264", 1)) == [0]


def test_no_duration(tmp_path: Path) -> None:
    """A file that was written to a pipe says nothing of its length."""
    piped = tmp_path / "piped.mkv"
    with piped.open("wb") as stream:

        class Pipe:
            """Cannot seek, so that no duration can be written."""

            def write(self, block: bytes) -> int:
                return stream.write(block)

        with av.open(Pipe(), "w", format="matroska") as container:
            video = container.add_stream("libx264", rate=10)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for number in range(40):
                container.mux(video.encode(av.VideoFrame.from_image(picture(number))))
            container.mux(video.encode())
    with av.open(str(piped)) as container:
        assert not container.duration
    assert duration_of(piped) == pytest.approx(4.0, abs=0.2)
    assert numbers(piped, 4) == middles(4, 40)


@pytest.mark.parametrize("name", ["h264.mkv", "flv.flv", "mpeg2.ts"])
def test_a_file_that_breaks_off_is_read_to_there(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, FILES[name][0], 60)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    found = numbers(path, 5)
    assert len(found) == 5
    assert found == sorted(set(found))
    assert 20 < found[-1] < 45


def test_a_damaged_middle_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "damaged.ts", "mpeg2video", 60)
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : third + 2000] = b"\x00" * 2000
    assert len(numbers(bytes(data), 6)) >= 4


def test_parts_of_a_video(tmp_path: Path) -> None:
    path = write(tmp_path / "long.mp4", "libx264", 60)
    assert numbers(path, 2, start=2.0, end=4.0) == [25, 35]
    assert numbers(path, 2, start=5.0) == [52, 57]
    assert numbers(path, 3, end=100.0) == middles(3, 60)
    with pytest.raises(InputError, match=r"lasts 6.00 s, so it has nothing at 7 s"):
        read_frames(path, 2, start=7)


def test_windows(tmp_path: Path) -> None:
    path = write(tmp_path / "long.mp4", "libx264", 42)
    assert windows(path, 2) == [(0, 2), (2, 4)]
    assert np.array(windows(path, 1.8)) == pytest.approx(np.array([(0, 1.8), (1.8, 3.6), (3.6, 4.2)]))
    assert windows(path, 60) == [(0, pytest.approx(4.2))]
    assert windows(path, 1, start=1, end=3) == [(1, 2), (2, 3)]


def test_folders_and_lists_of_images(tmp_path: Path) -> None:
    """In natural order: 2 before 10."""
    for number in range(20):
        picture(number).save(tmp_path / f"frame {number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    assert numbers(tmp_path, 6) == middles(6, 20)
    assert numbers(str(tmp_path), 64) == list(range(20))
    assert numbers([picture(3), tmp_path / "frame 7.png", np.asarray(picture(9))]) == [3, 7, 9]


def memory_of(path: Path) -> int:
    """Kilobytes that a process needs at most to read six frames."""
    code = (
        "import resource, sys; from picscribe.media.video import read_frames;"
        "assert len(read_frames(sys.argv[1], 6)) == 6; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return int(run.stdout)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """Ten minutes against five seconds."""
    short, long = tmp_path / "short.mp4", tmp_path / "long.mp4"
    for path, seconds in ((short, 5), (long, 600)):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for number in range(seconds * 10):
                frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), number % 250, np.uint8))
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    assert memory_of(long) - memory_of(short) < 150 * 1024


# Files that are none, and wrong uses


def sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"no video at all", "not in a known video format"),
        (PLAYLIST, "not in a known video format"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not in a known video format"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\n", "not in a known video format"),
        (b"<?xml version='1.0'?><MPD></MPD>", "not in a known video format"),
        (b"\x00\x00\x00\x20ftypisom" + b"\x00" * 100, "damaged or was cut off|no picture"),
        (b"\x1aE\xdf\xa3" + os.urandom(2000), "damaged or was cut off|no picture"),
        (b"RIFF\x10\x00\x00\x00AVI " + b"\xff" * 500, "damaged or was cut off|no picture"),
        (b"GIF89a" + b"\x00" * 50, "cannot be read as an animation"),
        (b"FLV\x01" + b"\x07" * 300, "damaged or was cut off|no picture|no frame"),
        (b"OggS" + b"\x00" * 300, "damaged or was cut off|no picture"),
    ],
)
def test_files_that_are_not_videos(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for source in (path, content, io.BytesIO(content)):
        with pytest.raises(InputError, match=words):
            read_frames(source)
    with pytest.raises(InputError, match=r"clip\.mp4"):
        read_frames(path)


def test_a_file_with_only_sound_is_not_a_video(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sound, but no picture"):
        read_frames(sound(tmp_path / "song.mp4"))


def test_a_missing_index_cannot_be_read(tmp_path: Path) -> None:
    """An MP4 whose end, where its index is, was cut off."""
    path = write(tmp_path / "cut.mp4", "libx264", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cut.mp4 is damaged or was cut off"):
        read_frames(path)


def test_limits(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", "libx264", 40)
    with pytest.raises(InputError, match="96×48 pixels, over the limit of 1000"):
        read_frames(path, limits=VideoLimits(max_pixels=1000))
    with pytest.raises(InputError, match=r"over the limit of 0\.001"):
        read_frames(path, limits=VideoLimits(max_hours=0.001))
    with pytest.raises(InputError, match="longer than the limit of 100 bytes"):
        read_frames(io.BytesIO(path.read_bytes()), limits=VideoLimits(max_bytes=100))
    with pytest.raises(InputError, match="over the limit of 2"):
        read_frames([picture(1)] * 3, limits=VideoLimits(max_images=2))


def test_special_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "none.mp4", "http://example.com/a.mp4", "concat:a|b"):
        with pytest.raises(InputError):
            read_frames(path)
        assert not is_video(path)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda path: read_frames(path, 0), "frames must be a whole number"),
        (lambda path: read_frames(path, 2.5), "frames must be a whole number"),
        (lambda path: read_frames(path, start=-1), "start must be"),
        (lambda path: read_frames(path, end=float("nan")), "end must be"),
        (lambda path: read_frames(path, start=2, end=1), "must come after start"),
        (lambda path: windows(path, 0), "every must be"),
        (lambda path: windows(path, "10s"), "every must be"),
        (lambda path: Video(path, frames=0), "frames must be"),
        (lambda path: Video(path, start=3, end=3), "must come after"),
        (lambda path: read_frames(path.parent, start=1), "has no times"),
        (lambda path: duration_of([picture(1)]), "has no times"),
    ],
)
def test_wrong_uses(call: Any, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", "libx264", 10)
    with pytest.raises(ConfigurationError, match=words):
        call(path)


def test_folders_and_lists_without_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images in this folder"):
        read_frames(tmp_path)
    with pytest.raises(InputError, match="no images: give at least one"):
        read_frames([])
    with pytest.raises(InputError):
        read_frames([b"no image"])
    with pytest.raises(InputError, match="is not a video: give a path"):
        read_frames(7)  # type: ignore[arg-type]

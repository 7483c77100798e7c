"""Video files through PyAV: the frames that are shown at given times, by seeking; nothing but the file is opened."""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from PIL import Image

from picscribe.errors import InputError, MissingPackageError
from picscribe.media.sources import reason_of

NEAR = 2.0
"""Seconds that are decoded rather than sought."""

THREADS = 2

MOST_DECODED = 200_000_000_000
"""Pixels decoded of one file at most: two hours of 1280×720 at 30 frames a second.

Frames are sought, so that little is decoded; but a file whose index or key frames are missing is decoded from its
beginning.
"""

TURNS = {
    # Signs of a display matrix (a, b, c, d), which shows pixel (x, y) at (ax + cy, bx + dy) → what shows it so
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
}


class VideoFile:
    """The frames of a video file by time, in seconds from its first on; a `Clip`."""

    def __init__(self, stream: BinaryIO, form: str, name: str, max_pixels: int) -> None:
        """Raises InputError for a file that cannot be read, holds no picture, or frames beyond `max_pixels`."""
        self.av = _av()
        # PyAV's own, the stream's, and what PyAV stumbles over where a stream appears that the header did not name.
        self.broken = (self.av.FFmpegError, OSError, IndexError, ValueError)
        self.name, self.max_pixels, self.file, self.form = name, max_pixels, stream, form
        self.decoded = 0
        try:
            self.container = self.av.open(stream, format=form)
        except Exception as error:  # PyAV's, and OSError and ValueError of the stream
            raise InputError(f"{name} is damaged or was cut off ({reason_of(error)}): download it again") from error
        try:
            self.stream = self._find_stream()
            self.base = float(self.stream.time_base or 1 / 1000)
            self.origin = float((self.stream.start_time or 0) * self.base)
            self.duration = self._declared() or self._measured_at_the_end() or self._measured()
        except BaseException:
            self.container.close()
            raise

    def _find_stream(self) -> Any:
        pictures = [s for s in self.container.streams.video if not _is_cover(s)]
        if not pictures:
            what = "sound, but no picture" if self.container.streams.audio else "no picture"
            raise InputError(f"{self.name} holds {what}: give a video")
        stream = pictures[0]
        if stream.codec_context is None:
            raise InputError(f"{self.name}: this build of PyAV has no decoder for its video: convert it to H.264")
        self._check_size(stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.thread_count = THREADS
        return stream

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise InputError(
                f"{self.name} has frames of {width}×{height} pixels, over the limit of {self.max_pixels}: shrink it"
            )

    def _declared(self) -> float:
        """Seconds that the picture lasts, as the file says; 0 if it does not say so, or counts longer sound."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        if self.container.duration and len(self.container.streams) == 1:
            return float(self.container.duration / self.av.time_base)
        return 0.0

    def _measured_at_the_end(self) -> float:
        """Seconds, from the times of the packets after the last place that can be sought; 0 where nothing is found."""
        if not self.container.duration:
            return 0.0
        found = 0.0
        if self._seek(float(self.container.duration / self.av.time_base)):
            found = self._end_of(self._packets())
        self._restart()
        return found

    def _measured(self) -> float:
        """Seconds, from the times of all packets, none of which is decoded or kept."""
        count = 0

        def counted() -> Iterator[Any]:
            nonlocal count
            for packet in self._packets():
                count += 1
                yield packet

        last = self._end_of(counted())
        self._restart()
        return last or count / self._rate()

    def _end_of(self, packets: Iterator[Any]) -> float:
        """When the last of the packets ends to be shown; 0 where none has a time after the first frame's."""
        last, step = 0.0, 0.0
        for packet in packets:
            if packet.pts is not None:
                last = max(last, float(packet.pts * packet.time_base) - self.origin)
            step = float((packet.duration or 0) * packet.time_base) or step
        return last + (step or 1 / self._rate()) if last else 0.0

    def _rate(self) -> float:
        """Frames a second, as far as that is known."""
        return float(self.stream.average_rate or self.stream.guessed_rate or 25)

    def _packets(self) -> Iterator[Any]:
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    yield packet
        except self.broken:  # it breaks off here
            return

    def _restart(self) -> None:
        """Back to the first frame."""
        self.container.close()
        self.file.seek(0)
        try:
            self.container = self.av.open(self.file, format=self.form)
        except self.broken as error:
            raise InputError(
                f"{self.name} cannot be read again, because it changed or is damaged: give it again"
            ) from error
        self.stream = self._find_stream()

    def frames_at(self, times: Sequence[float]) -> list[Image.Image]:
        """The frames that are shown at ascending times, each once; where the file breaks off, `duration` becomes
        what there is."""
        images: list[Image.Image] = []
        taken = -math.inf
        frames, before, after = self._from(times[0]), None, None
        for time in times:
            if before is not None and after is not None and time >= after[0] and time - before[0] > NEAR:
                frames, before, after = self._from(time), None, None
            while after is None or after[0] <= time:
                if after is not None:
                    before = after
                after = next(frames, None)
                if after is None:
                    break
            shown = before or after
            if shown is None:
                break
            if after is None and self.duration - shown[0] > 3 / self._rate():  # it ends before it says
                self.duration = max(shown[0], 0.0) + 1 / self._rate()
            if shown[0] > taken:
                images.append(self._image(shown[1]))
                taken = shown[0]
        return images

    def _from(self, time: float) -> Iterator[tuple[float, Any]]:
        """Frames with their times, from one at or before `time` on."""
        # Without the index at its end, seeking in an AVI file goes wrong.
        lost = self.form == "avi" and len(getattr(self.stream, "index_entries", ())) < 2
        if time > NEAR and not lost and self._seek(time):
            frames = self._decoded()
            first = next(frames, None)
            if first is not None and first[0] <= time:
                return _chain(first, frames)
        self._restart()
        return self._decoded()

    def _seek(self, time: float) -> bool:
        try:
            self.container.seek(int((time + self.origin) / self.base), stream=self.stream, backward=True)
        except self.broken:
            return False
        return True

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        """Frames that can be decoded, with their times; damaged ones are left out, and a broken end is the end."""
        last: float | None = None
        packets = iter(self.container.demux(self.stream))
        while True:
            try:
                packet = next(packets, None)
            except self.broken:
                return
            if packet is None:
                return
            try:
                decoded = packet.decode()
            except self.broken:
                continue
            for frame in decoded:
                self._count(frame)
                if frame.pts is not None:
                    last = float(frame.pts * frame.time_base) - self.origin
                else:  # raw streams have no times: count
                    last = 0.0 if last is None else last + 1 / self._rate()
                yield last, frame

    def _count(self, frame: Any) -> None:
        self.decoded += frame.width * frame.height
        if self.decoded > MOST_DECODED:
            limit = f"{MOST_DECODED // 10**9} billion pixels"
            raise InputError(f"{self.name} takes too long: over {limit} had to be decoded; cut it, or encode it again")

    def _image(self, frame: Any) -> Image.Image:
        """A frame as it is meant to be seen: upright, with square pixels."""
        self._check_size(frame.width, frame.height)
        try:
            image: Image.Image = frame.to_image()
        except self.broken as error:
            raise InputError(
                f"{self.name} has a frame that cannot be decoded ({reason_of(error)}): encode it again"
            ) from error
        aspect = self.stream.sample_aspect_ratio
        if aspect and aspect != 1 and 0.1 < aspect < 10:
            image = image.resize((max(1, round(image.width * float(aspect))), image.height), Image.Resampling.BICUBIC)
        return _turned(image, frame)

    def close(self) -> None:
        """Let go of the file."""
        self.container.close()
        self.file.close()


def _chain(first: tuple[float, Any], rest: Iterator[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
    yield first
    yield from rest


def _turned(image: Image.Image, frame: Any) -> Image.Image:
    """The image as the frame's display matrix shows it."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return image
    a, b, _, c, d = (value / 65536 for value in struct.unpack("=5i", bytes(data)[:20]))
    size = max(abs(value) for value in (a, b, c, d))
    if not size:
        return image
    signs = tuple(round(value / size) for value in (a, b, c, d))
    if all(abs(value / size - sign) < 0.01 for value, sign in zip((a, b, c, d), signs, strict=True)):
        turn = TURNS.get(signs)
        return image if turn is None else image.transpose(turn)
    # Another angle: turned clockwise from the x axis to (a, b), after it was mirrored where the matrix mirrors.
    if a * d < b * c:
        image, a, b = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), -a, -b
    return image.rotate(-math.degrees(math.atan2(b, a)), expand=True)


def _is_cover(stream: Any) -> bool:
    """Whether a stream is a still picture that comes with sound."""
    disposition = getattr(stream, "disposition", 0)
    return "attached_pic" in str(disposition)


def _av() -> Any:
    try:
        import av
        import av.logging
    except ImportError as error:
        raise MissingPackageError('videos need the package PyAV: pip install "picscribe[video]"') from error
    av.logging.set_level(av.logging.PANIC)
    return av

"""Every way to give a photo, an animation and a video, for every job: the same result as by path."""

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import picscribe
from picscribe import InputError, Scribe, Video, checkpoints
from picscribe.media.preprocessing import Preprocessing
from picscribe.media.video import read_frames
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig
from picscribe.text.tokenizer import Tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "dog", "man", "runs", "sits", "on", "grass", "red"]
FRAMES = 4
SIDE = 48


@pytest.fixture(scope="module")
def scribe(tmp_path_factory: pytest.TempPathFactory) -> Scribe:
    """A tiny network that takes up to four frames, whose words depend on what it sees."""
    tokenizer = Tokenizer(WORDS)
    torch.manual_seed(5)
    decoder = TextDecoderConfig(
        vocabulary_size=len(WORDS), width=16, layers=1, heads=2, mlp_width=32, max_positions=64,
        pad_id=tokenizer.pad_id, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id,
    )  # fmt: skip
    encoder = ClipVitConfig(width=16, layers=1, heads=2, mlp_width=32, patch_size=16, image_size=32)
    model = Git(GitConfig(encoder, decoder, frames=FRAMES)).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(12)
    torch.nn.init.normal_(model.temporal_embedding, std=3.0)  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("models") / "video"
    checkpoints.save(checkpoints.Checkpoint(model, tokenizer, Preprocessing(size=32), "video", folder), folder)
    return picscribe.load(folder)


def pictures(count: int) -> list[Image.Image]:
    """Of few colours each, so that a GIF keeps them."""
    blocks = np.random.default_rng(11).integers(0, 256, (count, 3, 3, 3), dtype=np.uint8)
    return [Image.fromarray(block).resize((SIDE, SIDE), Image.Resampling.NEAREST) for block in blocks]


def write_photo(folder: Path) -> Path:
    pictures(1)[0].save(folder / "photo.png")
    return folder / "photo.png"


def write_animation(folder: Path) -> Path:
    first, *others = pictures(9)
    first.save(folder / "moving.gif", save_all=True, append_images=others, duration=100)
    return folder / "moving.gif"


def write_video(folder: Path) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = SIDE, SIDE, "yuv420p", 4
        for picture in pictures(12):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return folder / "clip.mp4"


MEDIA = {"photo": write_photo, "animation": write_animation, "video": write_video}


def piped(content: bytes) -> Any:
    """What `sys.stdin.buffer` is behind a pipe."""
    reading, writing = os.pipe()

    def fill() -> None:
        with os.fdopen(writing, "wb") as end:
            end.write(content)

    threading.Thread(target=fill, daemon=True).start()
    return os.fdopen(reading, "rb")


def as_pillow(path: Path) -> Any:
    """A Pillow image; Pillow opens no video files: their frames."""
    return Video(read_frames(path, 99)) if path.suffix == ".mp4" else Image.open(path)


def as_array(path: Path) -> np.ndarray:
    """An array of a photo, of all frames of what moves."""
    if path.suffix == ".png":
        return np.asarray(Image.open(path).convert("RGB"))
    return np.stack([np.asarray(frame) for frame in read_frames(path, 99)])


WAYS: dict[str, Callable[[Path], Any]] = {
    "path": Path,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "standard input": lambda path: piped(path.read_bytes()),
    "Pillow": as_pillow,
    "array": as_array,
}

TEXTS = ["a red dog", "the man sits on grass"]
JOBS: dict[str, Callable[[Scribe, Any], Any]] = {
    "caption": lambda scribe, image: scribe.caption(image, max_new_tokens=6),
    "ask": lambda scribe, image: scribe.ask(image, ["the dog", "a man"], max_new_tokens=6),
    "classify": lambda scribe, image: scribe.classify(image, TEXTS).ranking,
    "score": lambda scribe, image: scribe.score(image, TEXTS),
    "explain": lambda scribe, image: plain(scribe.explain(image, min_new_tokens=1, max_new_tokens=6)),
    "stream": lambda scribe, image: "".join(scribe.stream(image, max_new_tokens=6)),
}


def plain(explanation: Any) -> Any:
    """What can be compared with ==."""
    return explanation.caption, explanation.words, explanation.maps.tolist()


@pytest.fixture(scope="module", params=MEDIA)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MEDIA[request.param](tmp_path_factory.mktemp("media"))


@pytest.mark.parametrize("job", JOBS)
def test_every_way_to_give_it(job: str, path: Path, scribe: Scribe) -> None:
    expected = JOBS[job](scribe, str(path))
    found = {name: JOBS[job](scribe, way(path)) for name, way in WAYS.items()}
    assert found == dict.fromkeys(WAYS, expected)


def test_what_moves_is_seen_in_several_frames(path: Path, scribe: Scribe) -> None:
    """Else the results above would be equal because none of them looked beyond the first."""
    assert tuple(scribe.pixels(path).shape) == ((3, 32, 32) if path.suffix == ".png" else (FRAMES, 3, 32, 32))
    if path.suffix != ".png":
        middles = [frame for frame in read_frames(path, FRAMES)]
        assert not torch.equal(scribe.pixels(path)[0], scribe.pixels(path)[3])
        assert scribe.caption(path) == scribe.caption(Video(middles))


@pytest.mark.parametrize("name", WAYS)
def test_a_part_of_it(name: str, path: Path, scribe: Scribe) -> None:
    """Frames of a stretch of time by every way that has times, an error by every other."""
    given = WAYS[name](path)
    if path.suffix == ".png" or name == "array" or isinstance(given, Video):
        source = given.source if isinstance(given, Video) else given
        with pytest.raises(picscribe.PicscribeError, match=r"no times|no video"):
            scribe.caption(Video(source, frames=2, start=0.3, end=0.7))
        return
    expected = scribe.pixels(Video(read_frames(path, 2, start=0.3, end=0.7)))
    assert torch.equal(scribe.pixels(Video(given, frames=2, start=0.3, end=0.7)), expected)


def test_all_ways_in_one_batch(path: Path, scribe: Scribe) -> None:
    found = scribe.caption([way(path) for way in WAYS.values()], max_new_tokens=6)
    assert {caption.tokens for caption in found} == {scribe.caption(path, max_new_tokens=6).tokens}


def test_a_stream_that_can_seek_is_left_where_it_was(path: Path, scribe: Scribe) -> None:
    """So that the next job sees the same of it."""
    with path.open("rb") as file:
        for stream in (file, io.BytesIO(path.read_bytes())):
            assert scribe.caption(stream) == scribe.caption(path)
            assert stream.tell() == 0
            assert scribe.caption([stream, stream]) == scribe.caption([path, path])


def test_a_pillow_image_is_left_where_it_was(scribe: Scribe, tmp_path: Path) -> None:
    with Image.open(write_animation(tmp_path)) as image:
        image.seek(3)
        scribe.caption(image)
        assert image.tell() == 3


def test_standard_input_of_the_command_line(path: Path, scribe: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell gives it with `<`: a plain file."""
    with path.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert scribe.caption(sys.stdin.buffer) == scribe.caption(path)


def test_a_text_stream_is_refused(path: Path, scribe: Scribe) -> None:
    with path.open(encoding="latin-1") as file, pytest.raises(InputError, match="open it in binary mode"):
        scribe.caption(file)  # type: ignore[arg-type]


# Pixels given as they are


def white(size: int = 32) -> torch.Tensor:
    return Preprocessing(size=size)(Image.new("RGB", (size, size), "white"))


@pytest.mark.parametrize(
    ("pixels", "complaint"),
    [
        (torch.full((3, 32, 32), torch.nan), "not finite"),
        (torch.full((3, 32, 32), torch.inf), "not finite"),
        (torch.where(torch.arange(32) == 7, torch.nan, white()), "not finite"),
        (white() + 1, "white 1"),
        (torch.full((3, 32, 32), -9.0), "black is 0"),
        (255 * torch.rand(3, 32, 32), "white 1"),
        (torch.zeros(3, 10, 10), r"\(3, 32, 32\) of float32, not \(3, 10, 10\)"),
        (torch.zeros(3, 0, 0), r"not \(3, 0, 0\)"),
        (torch.zeros(3, 32, 48), r"not \(3, 32, 48\)"),
        (torch.zeros(32, 32, 3), r"not \(32, 32, 3\)"),
        (torch.zeros(1, 32, 32), r"not \(1, 32, 32\)"),
        (torch.zeros(32, 32), r"not \(32, 32\)"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), "of uint8"),
        (torch.zeros(3, 32, 32, dtype=torch.float64), "of float64"),
        (torch.zeros(0, 3, 32, 32), "0 frames cannot be used"),
        (torch.zeros(9, 3, 32, 32), "9 frames cannot be used: .* takes videos of at most 4 frames"),
        (torch.zeros(2, 3, 10, 10), r"not \(3, 10, 10\)"),
        (torch.stack([white(), white() * torch.nan]), "not finite"),
    ],
)
def test_tensors_that_no_image_gives(pixels: torch.Tensor, complaint: str, scribe: Scribe) -> None:
    """Each fails alone, in every job."""
    good, bad = scribe.caption([white(), pixels], errors="return")
    assert good == scribe.caption(white())
    assert isinstance(bad, InputError)
    for job in JOBS.values():
        with pytest.raises(InputError, match=complaint):
            job(scribe, pixels)


def test_pixels_computed_in_half_precision_are_taken(scribe: Scribe) -> None:
    pixels = white().bfloat16().float()
    assert scribe.caption(pixels).text == scribe.caption(white()).text


def test_pixels_that_a_gradient_flows_to_are_taken(scribe: Scribe) -> None:
    assert scribe.caption(white().requires_grad_()) == scribe.caption(white())


ARRAYS = [
    (np.full((8, 8, 3), np.nan), "give uint8, 0 to 255"),
    (np.full((8, 8, 3), 0.5), r"\(255 \* array\).round\(\).astype\(np.uint8\)"),
    (np.full((8, 8, 3), -1.0), "give uint8"),
    (np.full((8, 8, 3), 300), "give uint8"),
    (np.zeros((8, 8, 3), np.int8), "give uint8"),
    (np.zeros((3, 8, 8), np.uint8), r"channels last; .transpose\(1, 2, 0\)"),
    (np.zeros((8, 8, 2), np.uint8), "give uint8"),
    (np.zeros((0, 8, 3), np.uint8), "no picture"),
    (np.zeros((8,), np.uint8), "give uint8"),
    (np.zeros((2, 2, 8, 8, 3), np.uint8), "give uint8"),
    (np.array([[b"a"]], object), "give uint8"),
    (np.zeros((2, 8, 8, 3)), "give uint8"),
    (np.zeros((0, 8, 8, 3), np.uint8), "no images"),
]


@pytest.mark.parametrize(("array", "complaint"), ARRAYS)
def test_arrays_that_are_not_images(array: np.ndarray, complaint: str, scribe: Scribe) -> None:
    good, bad = scribe.caption([white(), array], errors="return")
    assert good == scribe.caption(white())
    with pytest.raises(InputError, match=complaint):
        raise bad


def test_a_network_of_photos_and_what_moves(tmp_path: Path, tiny_model: Path) -> None:
    """Of an animation it takes the first frame, or the middle one of a `Video`; an array of frames is no photo."""
    scribe = picscribe.load(tiny_model)
    animation = write_animation(tmp_path)
    first, middle = (scribe.caption(pictures(9)[place]) for place in (0, 4))
    for name, way in WAYS.items():
        if name == "array":
            with pytest.raises(InputError, match=r"is a video, and .* takes photos: ask for 1 frame"):
                scribe.caption(way(animation))
        else:
            assert scribe.caption(way(animation)).tokens == first.tokens
        assert scribe.caption(Video(way(animation), frames=1)).tokens == middle.tokens

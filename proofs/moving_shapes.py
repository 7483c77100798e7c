"""Coloured shapes that move, grow, shrink or blink, in real video files: does a model see the order of the frames?

    python -m proofs.moving_shapes

Captions and answers say shape, colour and what it does. Left and right, up and down, growing and shrinking hold the
same frames in another order: a model whose temporal embeddings are put to zero can only guess.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageDraw

from picscribe import checkpoints
from proofs.proving import RUNS, evaluate, make_data, train

NAME = "moving-shapes"
SIZE, FRAMES = 96, 6
COUNTS = {"train": 2400, "val": 100, "test": 500}
COLOURS = {
    "red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 230), "yellow": (235, 215, 40),
    "purple": (150, 50, 190), "white": (245, 245, 245),
}  # fmt: skip
GROUNDS = ((20, 20, 20), (120, 120, 120), (70, 50, 30), (30, 60, 90), (180, 170, 150))
SHAPES = ("circle", "square", "triangle", "star")
MOTIONS = {
    "moves left": (-1, 0), "moves right": (1, 0), "moves up": (0, -1), "moves down": (0, 1),
    "grows": (0, 0), "shrinks": (0, 0), "blinks": (0, 0),
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """What a video shows: places and sizes in pixels, `reach` how far the shape goes between first and last frame."""

    shape: str
    colour: str
    motion: str
    ground: tuple[int, int, int]
    x: float
    y: float
    radius: float
    reach: float

    @property
    def caption(self) -> str:
        """What is said of it."""
        return f"a {self.colour} {self.shape} {self.motion}"


def draw_scene(draw: random.Random) -> Scene:
    """A scene in which the shape stays within the picture, half of it at the most outside."""
    reach = draw.uniform(0.25, 0.6) * SIZE
    margin = 0.2 * SIZE + reach / 2
    x, y = (draw.uniform(margin, SIZE - margin) for _ in range(2))
    return Scene(
        draw.choice(SHAPES), draw.choice(list(COLOURS)), draw.choice(list(MOTIONS)), draw.choice(GROUNDS),
        x, y, draw.uniform(0.1, 0.2) * SIZE, reach,
    )  # fmt: skip


def frames_of(scene: Scene) -> list[Image.Image]:
    """Its frames, drawn at four times the size and made smaller."""
    pictures = []
    for number in range(FRAMES):
        part = number / (FRAMES - 1) - 0.5
        right, down = MOTIONS[scene.motion]
        x, y = scene.x + right * part * scene.reach, scene.y + down * part * scene.reach
        radius = scene.radius * {"grows": 1.2 + 1.2 * part, "shrinks": 1.2 - 1.2 * part}.get(scene.motion, 1.0)
        picture = Image.new("RGB", (4 * SIZE, 4 * SIZE), scene.ground)
        if scene.motion != "blinks" or number % 2 == 0:
            draw_shape(ImageDraw.Draw(picture), scene.shape, 4 * x, 4 * y, 4 * radius, COLOURS[scene.colour])
        pictures.append(picture.resize((SIZE, SIZE), Image.Resampling.BOX))
    return pictures


def draw_shape(
    draw: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float, colour: tuple[int, int, int]
) -> None:
    """A shape around a point."""
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        return
    corners = {"square": 4, "triangle": 3, "star": 10}[shape]
    start = np.pi / 4 if shape == "square" else -np.pi / 2
    points = []
    for corner in range(corners):
        angle = start + 2 * np.pi * corner / corners
        length = radius * (0.45 if shape == "star" and corner % 2 else 1.2)
        points.append((x + length * np.cos(angle), y + length * np.sin(angle)))
    draw.polygon(points, fill=colour)


def write_video(path: Path, pictures: list[Image.Image]) -> None:
    """MPEG-4, three frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=3)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = SIZE, SIZE, "yuv420p", 400_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def write(folder: Path) -> None:
    """Videos of every split, captions of each, and three questions."""
    (folder / "videos").mkdir()
    draw = random.Random(7)
    captions, questions = [], []
    for split, count in COUNTS.items():
        for number in range(count):
            scene, name = draw_scene(draw), f"{split}{number}"
            write_video(folder / "videos" / f"{name}.mp4", frames_of(scene))
            captions.append({"video": f"{name}.mp4", "video_id": name, "caption": [scene.caption], "split": split})
            asked = {
                "what does it do": scene.motion, "what colour is it": scene.colour, "what shape is it": scene.shape
            }  # fmt: skip
            for place, (question, answer) in enumerate(asked.items()):
                row = {"video": f"{name}.mp4", "video_id": name, "id": f"{name}-{place}", "split": split}
                questions.append({**row, "question": question, "answer": answer})
    (folder / "captions.json").write_text(json.dumps(captions))
    (folder / "questions.json").write_text(json.dumps(questions))


def without_order(model: Path, folder: Path) -> Path:
    """A copy of a model whose temporal embeddings are zero."""
    loaded = checkpoints.load(str(model))
    assert loaded.model.temporal_embedding is not None
    loaded.model.temporal_embedding = torch.nn.Parameter(torch.zeros_like(loaded.model.temporal_embedding))
    checkpoints.save(loaded, folder)
    return folder


if __name__ == "__main__":
    data = make_data(NAME, write)
    best = train(NAME)
    blind = without_order(best, RUNS / NAME / "without-order")
    exact = ("--images", str(data / "videos"), "--beams", "1", "--metric", "exact-match")
    seen = evaluate(NAME, best, data / "captions.json", "captions", *exact)
    guessed = evaluate(NAME, blind, data / "captions.json", "captions-without-order", *exact)
    evaluate(NAME, best, data / "questions.json", "questions", *exact)
    print(f"sentences: {seen['exact-match']:.3f}, with the temporal embeddings zeroed {guessed['exact-match']:.3f}")

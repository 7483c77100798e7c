"""Files to captions: a folder of photos through `nano`, one by one, in batches, and read ahead.

    python -m benchmarks.pipeline [--photos 500] [--folder PHOTOS] [--rounds 3] [--beams 4]

Without a folder the photos are made from the example photos: random crops, enlarged to 0.3 to 12 megapixels with the
noise of a sensor, JPEG of several qualities. The ways take turns, a round each; prints images a second, the ratio to
one by one of the same round, and what decoding and computing take alone.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import picscribe
from picscribe.media import find_images, open_image
from picscribe.scribe import READERS, Scribe

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MEGAPIXELS = (0.3, 0.5, 1, 2, 4, 8, 12)
BATCH = 16


def make_photos(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write `count` JPEGs of 3:2 photos of many sizes."""
    draw = np.random.default_rng(seed)
    originals = [open_image(file) for file in sorted(EXAMPLES.glob("*.jpg"))]
    photos = []
    for number in range(count):
        original = originals[draw.integers(len(originals))]
        side = min(original.size) * draw.uniform(0.6, 1)
        left, top = (draw.uniform(0, length - side) for length in original.size)
        height = round((draw.choice(MEGAPIXELS) * 1e6 / 1.5) ** 0.5 / 8) * 8
        photo = original.resize(
            (height * 3 // 2, height), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
        )
        noise = draw.normal(0, 4, (256, 256, 3))
        tiles = (height // 256 + 1, photo.width // 256 + 1, 1)
        grains = np.tile(noise, tiles)[:height, : photo.width]
        photos.append(folder / f"{number:04}.jpg")
        levels = np.clip(np.asarray(photo) + grains, 0, 255).astype(np.uint8)
        Image.fromarray(levels).save(photos[-1], quality=int(draw.integers(75, 96)))
    return photos


def one_by_one(scribe: Scribe, photos: Sequence[Path], beams: int) -> list[str]:
    """As a loop over `Scribe.caption` of a path does."""
    return [scribe.caption(photo, beams=beams).text for photo in photos]


def batched(scribe: Scribe, photos: Sequence[Path], beams: int) -> list[str]:
    """Photos opened one after the other, whole, and computed in batches."""
    texts = []
    for start in range(0, len(photos), BATCH):
        opened = [open_image(photo) for photo in photos[start : start + BATCH]]
        texts += [caption.text for caption in scribe.caption(opened, beams=beams, batch_size=BATCH)]
    return texts


def read_ahead(scribe: Scribe, photos: Sequence[Path], beams: int) -> list[str]:
    """As `picscribe caption FOLDER` does."""
    return [caption.text for caption in scribe.captions(photos, beams=beams, batch_size=BATCH)]


def decode_alone(scribe: Scribe, photos: Sequence[Path], beams: int) -> list[str]:
    """What opening and shaping take, in one thread."""
    for photo in photos:
        scribe.preprocessing.read(photo)
    return []


def compute_alone(scribe: Scribe, photos: Sequence[Path], beams: int) -> list[str]:
    """What the network and the search take, on one photo's pixels over and over."""
    batch = [open_image(photos[0]).resize((256, 256))] * BATCH
    for start in range(0, len(photos), BATCH):
        scribe.caption(batch[: len(photos) - start], beams=beams, batch_size=BATCH)
    return []


WAYS: dict[str, Callable[[Scribe, Sequence[Path], int], list[str]]] = {
    "one by one": one_by_one,
    "batches": batched,
    "read ahead": read_ahead,
    "decoding alone": decode_alone,
    "computing alone": compute_alone,
}


def main() -> None:
    """Time each way in turn and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beams", type=int, default=4)
    arguments = parser.parse_args()
    scribe = picscribe.load()
    with tempfile.TemporaryDirectory() as temporary:
        made = arguments.folder is None
        photos = make_photos(Path(temporary), arguments.photos) if made else list(find_images(arguments.folder).files)
        for way in WAYS.values():
            way(scribe, photos[: 2 * BATCH], arguments.beams)
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        texts: dict[str, list[str]] = {}
        for _ in range(arguments.rounds):
            for name, way in WAYS.items():
                started = time.perf_counter()
                texts[name] = way(scribe, photos, arguments.beams)
                seconds[name].append(time.perf_counter() - started)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {READERS} readers, torch {torch.__version__}, picscribe "
        f"{picscribe.__version__}; {len(photos)} photos, {arguments.beams} beams, {arguments.rounds} rounds"
    )
    for name, taken in seconds.items():
        ratios = [first / own for first, own in zip(seconds["one by one"], taken, strict=True)]
        rate = len(photos) / statistics.median(taken)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name:15} {rate:6.1f} images a second   {spread} times one by one")
    for name in ("batches", "read ahead"):
        other = sum(a != b for a, b in zip(texts[name], texts["one by one"], strict=True))
        print(f"{name}: {other} captions other than one by one's")


if __name__ == "__main__":
    main()

"""Files to captions: a folder of photos through `nano`, one by one, in batches, and read ahead.

    python -m benchmarks.pipeline [--photos 500] [--folder PHOTOS] [--rounds 3] [--beams 4] [--precision exact]
        [--readers 1 2 4] [--batches 16] [--details 2]

Without a folder the photos are made from the example photos: random crops, enlarged to 0.3 to 12 megapixels with the
noise of a sensor, JPEG of several qualities. The ways take turns, a round each; prints images a second and the ratio to
one by one of the same round, then where the time of batches goes, which overlap nothing. --readers adds a way for each
number of reading threads, --batches one for each number of photos that are computed at a time, --details one for each
scale that JPEGs are decoded at, as `Preprocessing.detail` has it.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

import picscribe
import picscribe.batches
from picscribe.batches import READERS, read_ahead
from picscribe.media import find_images, open_image
from picscribe.scribe import Scribe

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MEGAPIXELS = (0.3, 0.5, 1, 2, 4, 8, 12)
WARM_UP = 64
"""Photos."""


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


class Batches:
    """Photos opened and shaped one after the other and computed in batches; sums up what each step took."""

    def __init__(self) -> None:
        self.seconds = {"decoding": 0.0, "resizing": 0.0, "computing": 0.0}

    def __call__(self, scribe: Scribe, photos: Sequence[Path], beams: int) -> list[str]:
        texts = []
        at_least, size = scribe.preprocessing.detail * scribe.preprocessing.size, scribe.fitting_batch_size()
        for start in range(0, len(photos), size):
            pixels = []
            for photo in photos[start : start + size]:
                image = self._timed("decoding", open_image, photo, at_least=at_least)
                pixels.append(self._timed("resizing", scribe.preprocessing, image))
            computed = self._timed("computing", scribe.caption, pixels, beams=beams, batch_size=size)
            texts += [caption.text for caption in computed]
        return texts

    def _timed(self, step: str, run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        result = run(*arguments, **options)
        self.seconds[step] += time.perf_counter() - started
        return result


def ahead(
    scribe: Scribe, photos: Sequence[Path], beams: int, readers: int = READERS, batch_size: int | None = None
) -> list[str]:
    """As `picscribe caption FOLDER` does, with another number of reading threads, or of photos in a batch."""
    with mock.patch.object(picscribe.batches, "read_ahead", partial(read_ahead, workers=readers)):
        return [caption.text for caption in scribe.captions(photos, beams=beams, batch_size=batch_size)]


def in_detail(scribe: Scribe, photos: Sequence[Path], beams: int, detail: int) -> list[str]:
    """As `picscribe caption FOLDER` does, with JPEGs decoded at another scale."""
    with mock.patch.object(scribe._inference, "preprocessing", replace(scribe.preprocessing, detail=detail)):
        return ahead(scribe, photos, beams)


def main() -> None:
    """Time each way in turn and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--precision", default="exact")
    parser.add_argument("--readers", type=int, nargs="*", default=[])
    parser.add_argument("--batches", type=int, nargs="*", default=[])
    parser.add_argument("--details", type=int, nargs="*", default=[])
    arguments = parser.parse_args()
    scribe = picscribe.load(precision=arguments.precision)
    batches = Batches()
    ways: dict[str, Callable[[Scribe, Sequence[Path], int], list[str]]] = {
        "one by one": one_by_one,
        "batches": batches,
        "read ahead": ahead,
        **{f"{number} readers": partial(ahead, readers=number) for number in arguments.readers},
        **{f"batch of {number}": partial(ahead, batch_size=number) for number in arguments.batches},
        **{f"detail of {number}": partial(in_detail, detail=number) for number in arguments.details},
    }
    with tempfile.TemporaryDirectory() as temporary:
        made = arguments.folder is None
        photos = make_photos(Path(temporary), arguments.photos) if made else list(find_images(arguments.folder).files)
        for way in ways.values():
            way(scribe, photos[:WARM_UP], arguments.beams)
        batches.seconds = dict.fromkeys(batches.seconds, 0.0)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        texts: dict[str, list[str]] = {}
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                started = time.perf_counter()
                texts[name] = way(scribe, photos, arguments.beams)
                seconds[name].append(time.perf_counter() - started)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {READERS} readers, torch {torch.__version__}, picscribe "
        f"{picscribe.__version__}; {len(photos)} photos, {arguments.beams} beams, {arguments.rounds} rounds; "
        f"{scribe.precision}"
    )
    for name, taken in seconds.items():
        ratios = [first / own for first, own in zip(seconds["one by one"], taken, strict=True)]
        rate = len(photos) / statistics.median(taken)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        other = sum(a != b for a, b in zip(texts[name], texts["one by one"], strict=True))
        print(f"{name:12} {rate:6.1f} images a second   {spread} times one by one   {other} other captions")
    total = sum(batches.seconds.values())
    print(
        "of the time of batches:", ", ".join(f"{step} {taken / total:.0%}" for step, taken in batches.seconds.items())
    )


if __name__ == "__main__":
    main()

"""Steps of a run whose image encoder is frozen: over photos, and over what `image.views` has kept of them.

    OMP_NUM_THREADS=1 python -m benchmarks.kept_views --runs 3

nano, decoder alone, on photos made up here, after the views were computed; both in one process, in turn.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from picscribe.training import Recipe
from picscribe.training.loop import Trainer
from picscribe.training.recipe import DataSettings, ImageSettings, OptimisationSettings, Source, WeightSettings
from picscribe.versions import versions

STEPS = 3


def write(folder: Path, count: int) -> None:
    """Photos of noise, with five captions each."""
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (224, 224, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.jpg")
        text = "".join(f"a dog runs over the green grass with ball number {place}\n" for place in range(5))
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")


def seconds(trainer: Trainer) -> float:
    """Of a step, reading included."""
    started = time.perf_counter()
    for step in range(STEPS):
        trainer.train_step(trainer.reader.read_batch(step))
    return (time.perf_counter() - started) / STEPS


def main() -> None:
    """Alternate the two, and print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    print(versions(), {"runs": runs})
    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary, "photos")
        photos.mkdir()
        write(photos, 144)
        seen = Recipe(
            data=DataSettings((Source(str(photos)),)),
            weights=WeightSettings(train="decoder"),
            optimisation=OptimisationSettings(batch_images=32),
        )
        kept = replace(seen, image=ImageSettings(views=1))
        tuners = [Trainer(recipe, Path(temporary, str(n)), print) for n, recipe in enumerate((seen, kept))]
        started = time.perf_counter()
        next(tuners[1].reader.prepare_steps(0, 1, lambda: None))
        view = time.perf_counter() - started
        for trainer in tuners:
            trainer.learner.model.train()
            seconds(trainer)  # warms up
        found = [[seconds(trainer) for trainer in tuners] for _ in range(runs)]
    photo, feature = (statistics.median(times) for times in zip(*found, strict=True))
    ratios = sorted(one / other for one, other in found)
    print(f"a step of 32 photos: {photo:.2f} s over photos, {feature:.2f} s over what was kept")
    print(f"times as fast: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"to compute a view, a photo: {1000 * view / 128:.0f} ms; {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()

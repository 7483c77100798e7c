"""Whether heat maps mean something: cover what a noun's map marks, and see what its probability loses.

    python -m benchmarks.explanation flickr8k [--photos 50] [--draws 10]

Photos of the validation split are captioned greedily. For each noun of a caption the tenth of the image that its map
marks most is covered with the photo's mean colour, and so is a random tenth, drawn patch by patch, and as one square
block. What is reported is how much more the noun's log-probability falls, in nats, with a 95 % bootstrap interval over
photos.
"""

import argparse
import random
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import picscribe
from picscribe.datasets import load_examples
from picscribe.versions import versions

LISTED = """
man woman boy girl dog dogs people child children person men women players player ball water snow beach grass bike
bicycle shirt street mountain rock field horse car pool wave swing camera skateboard helmet hat jacket building crowd
team face ramp air sand tree fence rope hill soccer football basketball surfer climber
"""
NOUNS = frozenset(LISTED.split())

SHARE = 0.1


def cover(pixels: Tensor, marked: Tensor) -> Tensor:
    """Pixels (3, height, width) whose places that are True in `marked` (rows, columns) have the photo's mean colour."""
    height, width = pixels.shape[1:]
    mask = torch.nn.functional.interpolate(marked[None, None].float(), (height, width))[0, 0].bool()
    return torch.where(mask, pixels.mean((1, 2), keepdim=True), pixels)


def strongest(heat: Tensor) -> Tensor:
    """True at the tenth of places (rows, columns) with the greatest values."""
    count = max(1, round(SHARE * heat.numel()))
    marked = torch.zeros(heat.numel(), dtype=torch.bool)
    marked[heat.flatten().topk(count).indices] = True
    return marked.view_as(heat)


def random_places(heat: Tensor, draw: random.Random, block: bool) -> Tensor:
    """As many places, scattered or in one block."""
    count = max(1, round(SHARE * heat.numel()))
    rows, columns = heat.shape
    if not block:
        marked = torch.zeros(heat.numel(), dtype=torch.bool)
        marked[draw.sample(range(heat.numel()), count)] = True
        return marked.view_as(heat)
    side = max(1, round(count**0.5))
    top, left = draw.randrange(rows - side + 1), draw.randrange(columns - side + 1)
    marked = torch.zeros_like(heat, dtype=torch.bool)
    marked[top : top + side, left : left + side] = True
    return marked


def interval(values: list[float], draws: int = 2000) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean."""
    resampled = np.random.default_rng(0).choice(np.array(values), (draws, len(values))).mean(1)
    return float(np.quantile(resampled, 0.025)), float(np.quantile(resampled, 0.975))


def main() -> None:
    """Print, for each method, how much more the covered map costs than random places."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=50)
    parser.add_argument("--draws", type=int, default=10)
    arguments = parser.parse_args()
    scribe = picscribe.load("nano")
    _, examples = load_examples(arguments.data, None, "val")
    chosen = random.Random(0).sample(list(examples), arguments.photos)
    print(f"nano, {arguments.photos} photos, {arguments.draws} random draws, seed 0; {versions()}")
    for method in ("gradient", "rollout"):
        losses: dict[str, list[float]] = {"scattered": [], "block": []}
        words: Counter[str] = Counter()
        for example in chosen:
            pixels = scribe.pixels(example.image())
            found = scribe.explain(pixels, method=method, beams=1)  # type: ignore[arg-type]
            draw = random.Random(example.id)
            of_photo: dict[str, list[float]] = {"scattered": [], "block": []}
            for place, word in enumerate(found.words):
                if word not in NOUNS or len(found.words) != len(found.caption.tokens):
                    continue
                words[word] += 1
                heat = torch.from_numpy(found.maps[place, 0])
                covered = [cover(pixels, strongest(heat))]
                for block in (False, True):
                    covered += [cover(pixels, random_places(heat, draw, block)) for _ in range(arguments.draws)]
                scored = scribe.scores([(one, [found.caption.text]) for one in covered], batch_size=32)
                values = [score[0].log_probabilities[place] for score in scored]
                marked, rest = values[0], np.array(values[1:]).reshape(2, -1).mean(1)
                of_photo["scattered"].append(float(rest[0]) - marked)
                of_photo["block"].append(float(rest[1]) - marked)
            for name, of_name in of_photo.items():
                if of_name:
                    losses[name].append(float(np.mean(of_name)))
        for name, values in losses.items():
            low, high = interval(values)
            more = f"{np.mean(values):.3f} nats more lost ({low:.3f} to {high:.3f})"
            print(f"{method} against {name} places: {more}, {len(values)} photos, {sum(words.values())} nouns")


if __name__ == "__main__":
    main()

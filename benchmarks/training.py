"""Training steps: all captions of an image over one prefix against separate pairs, and against transformers.

    python -m benchmarks.training [--images 2] [--captions 5] [--runs 3] [--size base]

Random weights, AdamW, float32, captions of 12 tokens, the same image–caption pairs a step for each side: `packed`
encodes an image once for all its captions, `unpacked` once a caption, as transformers does. Rounds alternate in one
process; printed are median seconds a step, captions a second, and the ratio of the same round (median, least and most).
"""

import argparse
import copy
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.generate import CLS, CONFIGS, SEP, pair, pixels_of, rounds, spread
from picscribe.text.prompts import TrainingExample
from picscribe.training.objectives.objective import Objective
from picscribe.training.objectives.packing import pack
from picscribe.versions import versions

TOKENS = 12


def make_captions(images: int, captions: int) -> list[list[TrainingExample]]:
    """Random captions of each image, [CLS] and [SEP] around them."""
    draw = random.Random(0)

    def caption() -> TrainingExample:
        tokens = (CLS, *(draw.randrange(1000, 30000) for _ in range(TOKENS)), SEP)
        return TrainingExample(tokens, (False, *[True] * (TOKENS + 1)))

    return [[caption() for _ in range(captions)] for _ in range(images)]


def our_step(model: Any, pixels: Tensor, texts: list[list[TrainingExample]]) -> Callable[[], None]:
    """A step of picscribe on images (B, …) and their texts."""
    objective = Objective(model.train().requires_grad_(True))
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-6)
    packed = pack(texts)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        (objective(pixels, packed) / len(packed.targets)).backward()
        optimiser.step()

    return step


def their_step(model: Any, pixels: Tensor, texts: list[list[TrainingExample]]) -> Callable[[], None]:
    """A step of transformers on as many pairs, an image each."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)
    ids = torch.tensor([text.tokens for of_image in texts for text in of_image])
    repeated = pixels.repeat_interleave(len(texts[0]), 0)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        model(pixel_values=repeated, input_ids=ids, labels=ids).loss.backward()
        optimiser.step()

    return step


def main() -> None:
    """Print a line a side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--captions", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", default="base", choices=CONFIGS)
    arguments = parser.parse_args()
    ours, theirs = pair(CONFIGS[arguments.size])
    pixels, texts = pixels_of(arguments.images), make_captions(arguments.images, arguments.captions)
    alone = [[text] for of_image in texts for text in of_image]
    repeated = pixels.repeat_interleave(arguments.captions, 0)
    sides = {
        "packed": our_step(copy.deepcopy(ours), pixels, texts),
        "unpacked": our_step(copy.deepcopy(ours), repeated, alone),
        "transformers": their_step(theirs, pixels, texts),
    }
    count = arguments.images * arguments.captions
    print(f"{arguments.size}, {arguments.images} images with {arguments.captions} captions each a step; {versions()}")
    taken = rounds(sides, arguments.runs)
    for name, seconds in taken.items():
        ratios = [other / mine for other, mine in zip(seconds, taken["packed"], strict=True)]
        rate = [count / one for one in seconds]
        times = f"packed is {spread(ratios, '.2f')} times as fast"
        print(f"{name:12} {spread(seconds, '.2f')} s   {spread(rate, '.2f')} captions a second   {times}")


if __name__ == "__main__":
    main()

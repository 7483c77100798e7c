"""Training steps of nano on a CPU, with and without keeping the memory that a step gives back.

    python -m benchmarks.allocator [--images 32] [--steps 6] [--runs 3]

Fresh processes take turns, for the setting holds for a whole process; each learns five captions of every image, all
weights, 256 pixels, float32. Printed are median seconds a step and the ratio of neighbouring processes.
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch

import picscribe
from benchmarks.generate import spread
from picscribe.text.prompts import training_example
from picscribe.training.objectives.objective import Objective
from picscribe.training.objectives.packing import pack
from picscribe.training.setup.machine import keep_freed_memory
from picscribe.versions import versions


def measure(images: int, steps: int, keeps: bool) -> float:
    """Median seconds a step; the first two do not count."""
    if keeps and not keep_freed_memory():
        raise SystemExit("the C library is not glibc")
    scribe = picscribe.load("nano")
    objective = Objective(scribe.model.train().requires_grad_(True))
    for parameter in objective.parameters():
        parameter.data = parameter.data.clone()
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-6)
    text = training_example(scribe.tokenizer, "", "a brown dog runs through the grass with a ball in its mouth", 40)
    pixels, packed, seconds = torch.randn(images, 3, 256, 256), pack([[text] * 5] * images), []
    for _ in range(steps + 2):
        started = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        (objective(pixels, packed) / len(packed.targets)).backward()
        optimiser.step()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def main() -> None:
    """Print a line a side, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", choices=("keep", "leave"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(measure(arguments.images, arguments.steps, arguments.side == "keep"))
        return
    print(versions(), vars(arguments))
    found: dict[str, list[float]] = {"keep": [], "leave": []}
    for _ in range(arguments.runs):
        for side, seconds in found.items():
            command = [sys.executable, "-m", "benchmarks.allocator", *sys.argv[1:], "--side", side]
            seconds.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    for side, seconds in found.items():
        print(f"{side:6} {spread(seconds, '.2f')} s a step")
    print("ratio ", spread([left / kept for left, kept in zip(found["leave"], found["keep"], strict=True)], ".2f"))


if __name__ == "__main__":
    main()

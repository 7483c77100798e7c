"""What fine-tuning needs: the peak memory of a process that takes two steps, for each choice of what learns.

    python -m benchmarks.training_memory [--images 8] [--captions 5] [--size base]

Random weights, AdamW, float32, 224 pixels, captions of 12 tokens; each row in a process of its own, everything counted:
Python, torch, weights, gradients, the optimiser's averages, what is kept for the gradient.
"""

import argparse
import subprocess
import sys
import time

import torch

from benchmarks.generate import CONFIGS, pixels_of, status_bytes
from benchmarks.training import make_captions
from picscribe.model import Git
from picscribe.training.objectives.objective import Objective
from picscribe.training.objectives.packing import pack
from picscribe.training.recipe import WeightSettings
from picscribe.training.setup.start import choose_weights
from picscribe.versions import versions

ROWS = {
    "all": WeightSettings(),
    "all, activations computed again": WeightSettings(activation_checkpointing=True),
    "upper half of the encoder": WeightSettings(frozen_blocks=6),
    "decoder": WeightSettings(train="decoder"),
    "lora in all": WeightSettings(train="lora", lora_in="all"),
    "lora in the decoder": WeightSettings(train="lora"),
}


def measure(row: str, size: str, images: int, captions: int) -> None:
    """Two steps; prints the trained weights, the peak in GiB and the second step's seconds."""
    settings = ROWS[row]
    torch.manual_seed(0)
    model = Git(CONFIGS[size]).train()
    choose_weights(model, settings)
    objective = Objective(model, activation_checkpointing=settings.activation_checkpointing)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-6)
    pixels, packed = pixels_of(images), pack(make_captions(images, captions))
    for _ in range(2):
        started = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        (objective(pixels, packed) / len(packed.targets)).backward()
        optimiser.step()
    seconds = time.perf_counter() - started
    print(f"{sum(p.numel() for p in trained) / 1e6:9.2f} {status_bytes('VmHWM') / 2**30:9.2f} {seconds:9.1f}")


def main() -> None:
    """Print a line a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--captions", type=int, default=5)
    parser.add_argument("--size", default="base", choices=CONFIGS)
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        measure(arguments.row, arguments.size, arguments.images, arguments.captions)
        return
    print(versions(), vars(arguments))
    print(f"{'':34}{'trained M':>9} {'peak GiB':>9} {'s a step':>9}")
    for row in ROWS:
        command = [sys.executable, "-m", "benchmarks.training_memory", *sys.argv[1:], "--row", row]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip()
        print(f"{row:34}{said}")


if __name__ == "__main__":
    main()

"""The image encoder of nano learning in bfloat16 on a CPU: depthwise gradients from windows against the plain ones.

    python -m benchmarks.depthwise [--images 32] [--sizes 64 128 256] [--runs 5]

Forward and backward of the whole encoder, all weights learning, in turns within one process. Printed are median seconds
a side, and the ratio of neighbouring turns.
"""

import argparse
import copy
import time

import torch

import picscribe
from benchmarks.generate import spread
from picscribe.acceleration.depthwise import learn_depthwise_fast
from picscribe.training.setup.machine import keep_freed_memory
from picscribe.versions import versions


def seconds(encoder: torch.nn.Module, pixels: torch.Tensor) -> float:
    """Of one forward and backward pass."""
    encoder.zero_grad(set_to_none=True)
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        seen = encoder(pixels)
    seen.float().sum().backward()
    return time.perf_counter() - started


def main() -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(versions(), vars(arguments), f"threads {torch.get_num_threads()}")
    keep_freed_memory()
    encoder = picscribe.load("nano").model.image_encoder.train().requires_grad_(True)
    for parameter in encoder.parameters():
        parameter.data = parameter.data.clone()
    plain_encoder = copy.deepcopy(encoder)
    learn_depthwise_fast(encoder)
    for size in arguments.sizes:
        pixels, windows, plain = torch.randn(arguments.images, 3, size, size), list[float](), list[float]()
        for turn in range(arguments.runs + 1):
            found = seconds(encoder, pixels)
            other = seconds(plain_encoder, pixels)
            if turn:  # the first allocates
                windows.append(found)
                plain.append(other)
        ratio = [slow / quick for slow, quick in zip(plain, windows, strict=True)]
        print(f"{size} px: {spread(windows, '.2f')} s, plain {spread(plain, '.2f')} s, ratio {spread(ratio, '.2f')}")


if __name__ == "__main__":
    main()

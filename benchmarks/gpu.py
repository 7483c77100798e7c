"""GIT on a GPU: first that it computes what the CPU computes, then how fast, against transformers.

    python -m benchmarks.gpu [--size large] [--beams 4] [--images 1 16 64 256] [--minutes 8]

Correct means: in float32, without TF32, the device's logits are the CPU's to 1e-3 of the largest and the tokens of a
beam search are the CPU's; in bfloat16 the logits are within a twentieth. Where that fails nothing is timed, and the
exit code is 1.
Then, in bfloat16, with random weights: picscribe with its steps as a CUDA graph and without, and transformers, in turn.
Printed are images and tokens a second, the ratio to transformers of the same round, the peak of memory above the
weights, and which part of the card's bfloat16 matmul rate, measured here, the multiplications that cannot be avoided
reached. Cases for which no time is left are named as not measured. Without a GPU it says so and ends with 0.
"""

import argparse
import contextlib
import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.generate import CLS, CONFIGS, NEW_TOKENS, needed_operations, ours, pair, spread, theirs
from picscribe.acceleration.steps import FixedStep
from picscribe.generation.decoding import GrowingStep
from picscribe.model import Git
from picscribe.versions import versions

STEPS = ("graph", "growing")
LOGITS_FLOAT32, LOGITS_BFLOAT16 = 1e-3, 0.05
SIDE = 8192
"""Of the matrices that the card's rate is measured with."""


@dataclass(frozen=True)
class Correctness:
    """The device against the CPU."""

    float32_error: float
    """Of the logits, relative to the largest; so the next."""
    bfloat16_error: float
    other_tokens: dict[str, int]
    """Images whose tokens differ, by the kind of step."""

    @property
    def holds(self) -> bool:
        """Whether the device may be timed."""
        close = self.float32_error <= LOGITS_FLOAT32 and self.bfloat16_error <= LOGITS_BFLOAT16
        return close and not any(self.other_tokens.values())


@contextlib.contextmanager
def stepping(kind: str, device: str) -> Iterator[None]:
    """Decode by steps of one shape, on a GPU a replayed graph, or by steps that grow with the texts."""
    if kind == "graph" and device.startswith("cuda"):
        yield  # as it is by itself, with what was captured kept for the next batch
        return
    made: Callable[..., Any] = (
        FixedStep if kind == "graph" else lambda model, cache, reorders: GrowingStep(model, cache)
    )
    with mock.patch("picscribe.generation.decoding.step_for", made):
        yield


def pixels_for(model: Git, images: int) -> Tensor:
    """The same random pixels each time, on the CPU."""
    side = model.config.image_encoder.image_size
    return torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(1))


def compare(model: Git, device: str, images: int = 4, beams: int = 4) -> Correctness:
    """A network on the CPU, in float32, against copies of it on `device`."""
    pixels = pixels_for(model, images)
    tokens = torch.randint(0, model.config.text_decoder.vocabulary_size, (images, 2, 6))
    with torch.inference_mode():
        expected = model(pixels, tokens)
    errors, other, wanted = [], {}, ours(model, pixels, beams)
    for dtype in (torch.float32, torch.bfloat16):
        moved = copy.deepcopy(model).to(device, dtype)
        with torch.inference_mode():
            found = moved(pixels.to(device, dtype), tokens.to(device)).float().cpu()
        errors.append(float((found - expected).abs().max() / expected.abs().max()))
        if dtype == torch.float32:
            for kind in STEPS:
                with stepping(kind, device):
                    written = ours(moved, pixels.to(device), beams)
                other[kind] = sum(a != b for a, b in zip(written, wanted, strict=True))
    return Correctness(errors[0], errors[1], other)


def seconds_of(run: Callable[[], object]) -> float:
    """Wall-clock seconds until the card is done."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def matmul_rate() -> float:
    """Operations a second of a large bfloat16 product on the card, the best of ten."""
    matrix = torch.ones(SIDE, SIDE, dtype=torch.bfloat16, device="cuda")
    return 2 * SIDE**3 / min(seconds_of(lambda: matrix @ matrix) for _ in range(10))


def their_tokens(peer: Any, pixels: Tensor, beams: int) -> object:
    """What transformers generates; `theirs`, whose prompt stays on the CPU, but on the card."""
    with torch.device("cuda"):
        return theirs(peer, pixels, beams)


def measure(model: Git, peer: Any, images: int, beams: int, runs: int, rate: float) -> None:
    """Time one case and print a line a side."""
    pixels = pixels_for(model, images).to("cuda", torch.bfloat16)

    def run(kind: str) -> None:
        with stepping(kind, "cuda"):
            ours(model, pixels, beams)

    sides: dict[str, Callable[[], object]] = {f"picscribe, {kind}": partial(run, kind) for kind in STEPS}
    sides["transformers"] = partial(their_tokens, peer, pixels, beams)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    memory: dict[str, int] = {}
    for turn in range(runs + 1):
        for name, side in sides.items():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            taken = seconds_of(side)
            memory[name] = torch.cuda.max_memory_allocated() - before
            if turn:  # the first captures and warms up
                seconds[name].append(taken)
    for name, taken_all in seconds.items():
        median = statistics.median(taken_all)
        ratios = [b / a for a, b in zip(taken_all, seconds["transformers"], strict=True)]
        reached = images * needed_operations(model.config, beams) / median / rate
        print(
            f"{images:4} images, {beams} beams, {name:20} {images / median:8.1f} images/s",
            f"{images * NEW_TOKENS / median:9.0f} tokens/s   ratio {spread(ratios, '.2f')}",
            f"{memory[name] / 2**20:7.0f} MiB   {reached:.1%} of the peak",
            flush=True,
        )


def main() -> None:
    """Check, then measure for as long as there is time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(CONFIGS), default="large")
    parser.add_argument("--images", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8)
    arguments = parser.parse_args()
    started = time.monotonic()
    if not torch.cuda.is_available():
        print("benchmarks.gpu: not measured, for PyTorch finds no CUDA device here")
        return
    print(f"{torch.cuda.get_device_name()}; {versions()}; {arguments.size}, {NEW_TOKENS} new tokens from id {CLS}")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model, peer = pair(CONFIGS[arguments.size])
    correctness = compare(model, "cuda")
    print(correctness, flush=True)
    if not correctness.holds:
        sys.exit("the card does not compute what the CPU computes: nothing is timed")
    model, peer = model.to("cuda", torch.bfloat16), peer.to("cuda", torch.bfloat16)
    rate = matmul_rate()
    print(f"bfloat16 matmul: {rate / 1e12:.0f} TFLOP/s")
    for images in arguments.images:
        case_started = time.monotonic()
        if case_started - started > 60 * arguments.minutes * 0.6:
            print(f"{images:4} images: not measured, {arguments.minutes:g} minutes are nearly over")
            continue
        try:
            measure(model, peer, images, arguments.beams, arguments.runs, rate)
        except torch.OutOfMemoryError as error:
            print(f"{images:4} images: not measured, {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()

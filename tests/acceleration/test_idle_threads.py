"""What is counted in a process of its own: threads of OpenMP, and pages that the system has to clear."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "cat.jpg"

THREADS = """
import os, sys
import picscribe

scribe, photo = picscribe.load("nano"), sys.argv[1]

def threads_after(image):
    list(scribe.captions([image] * 4))
    return len(os.listdir("/proc/self/task"))

print(threads_after(photo), threads_after(scribe.pixels(photo)))
"""

CLEARED = """
import resource
import picscribe, torch

scribe = picscribe.load("nano")  # pages that are cleared for layers of 42 MiB in all, again and again

def cleared():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers = [torch.ones(14 * 2**20, dtype=torch.uint8) for _ in range(3)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print([cleared() for _ in range(5)][-1])
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="counts what Linux and glibc do"
)


def count(program: str, threads: int) -> list[int]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_"):
        environment.pop(name, None)
    child = [sys.executable, "-c", program, str(PHOTO)]
    done = subprocess.run(child, env=environment, capture_output=True, check=True, timeout=300)
    return [int(number) for number in done.stdout.split()]


def test_pixels_are_checked_without_threads_that_compute() -> None:
    before, after = count(THREADS, 2)
    assert after == before  # a team of OpenMP's in each reading thread would be more


def test_memory_is_kept_from_layer_to_layer() -> None:
    (pages,) = count(CLEARED, 1)
    assert pages < 1000  # of 10,752

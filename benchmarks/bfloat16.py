"""Products in bfloat16 against float32 on this CPU, and whether picscribe takes it for one that has them.

    OMP_NUM_THREADS=1 python -m benchmarks.bfloat16

Both in turn, in one process.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor

from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.versions import versions


def gigaflops(a: Tensor, b: Tensor) -> float:
    """Of one product."""
    started = time.perf_counter()
    a @ b
    return 2 * len(a) * a.shape[1] * b.shape[1] / (time.perf_counter() - started) / 1e9


def main() -> None:
    """Alternate the two, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--side", type=int, default=1024)
    arguments = parser.parse_args()
    print(versions(), vars(arguments))
    figures: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(arguments.runs + 1):
        for dtype, found in figures.items():
            found.append(gigaflops(*torch.randn(2, arguments.side, arguments.side).to(dtype)))
    for dtype, (_, *found) in figures.items():  # the first warms up
        spread = f"{min(found):.1f} to {max(found):.1f}"
        print(f"{dtype}: {statistics.median(found):.1f} GFLOPS ({spread}), {torch.get_num_threads()} threads")
    print(f"bfloat16 products: {'yes' if multiplies_bfloat16() else 'no'}")


if __name__ == "__main__":
    main()

"""How long the first caption takes: the command line from a cold start, and what of it is importing PyTorch.

    python -m benchmarks.startup [PHOTO] [--runs 5]
    python -m benchmarks.startup --server

With --server a service of nano runs meanwhile, and the same command goes through it as well.

Runs alternate, so that a machine whose speed drifts slows all of them alike; prints median, minimum and maximum.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "cat.jpg"
THROUGH = "through a service"
COMMAND = [sys.executable, "-c", "from picscribe.cli.main import main; main()"]


def seconds_of(command: list[str], server: str = "") -> float:
    """Wall-clock seconds of one run of a whole process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PICSCRIBE_SERVER": server})
    return time.perf_counter() - started


def main() -> None:
    """Measure, with a service where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", default=str(PHOTO))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--server", action="store_true", help="through a running service as well")
    arguments = parser.parse_args()
    if not arguments.server:
        measure(arguments.photo, arguments.runs)
        return
    from benchmarks.serving import service

    with service() as running:
        measure(arguments.photo, arguments.runs, f"http://127.0.0.1:{running.port}")


def measure(photo: str, runs: int, server: str = "") -> None:
    """Time each command in turn and print the figures."""
    commands = {
        "python alone": [sys.executable, "-c", "pass"],
        "import torch": [sys.executable, "-c", "import torch"],
        "picscribe --help": [*COMMAND, "--help"],
        "picscribe caption PHOTO": [*COMMAND, "caption", photo],
    }
    if server:
        commands[THROUGH] = commands["picscribe caption PHOTO"]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            taken = seconds_of(command, server if name == THROUGH else "")
            if run:  # the first round warms the disk cache
                seconds[name].append(taken)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {runs} runs")
    for name, taken_all in seconds.items():
        median = statistics.median(taken_all)
        print(f"{name:26} median {median:.2f} s   min {min(taken_all):.2f}   max {max(taken_all):.2f}")
    pairs = zip(seconds["import torch"], seconds["picscribe caption PHOTO"], strict=True)
    shares = sorted(torch / caption for torch, caption in pairs)
    print(f"import torch is {statistics.median(shares):.0%} ({shares[0]:.0%} to {shares[-1]:.0%}) of a caption's time")


if __name__ == "__main__":
    main()

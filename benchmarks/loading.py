"""How much memory and time loading a checkpoint takes, against transformers on the same folder.

    python -m benchmarks.loading [--size large] [--dtype float32] [--runs 3]

Random weights, stored as float32. Each run is a process of its own, and the two alternate. Peaks are resident memory
above what the process has after its imports, as a share of the weight file: while loading, and once every weight has
been used, since a mapped file's pages come with their use. Linux only. The first round warms the disk cache.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.generate import CLS, CONFIGS, SEP
from picscribe.checkpoints import Checkpoint, save
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import Git
from picscribe.text.tokenizer import Tokenizer

MEASURE = """
import json, sys, time
from pathlib import Path
import torch
{imports}

def bytes_of(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))

folder, dtype = sys.argv[1:]
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before, started = bytes_of("VmRSS"), time.perf_counter()
model = {load}
seconds, loading = time.perf_counter() - started, bytes_of("VmHWM") - before
for tensor in model.state_dict().values():
    tensor.sum()
print(json.dumps([seconds, loading, bytes_of("VmHWM") - before]))
"""
MEASURES = {
    "picscribe": MEASURE.format(
        imports="import picscribe.checkpoints.loading, tokenizers\nfrom picscribe.checkpoints import load",
        load="load(folder, dtype=dtype).model",
    ),
    "transformers": MEASURE.format(
        imports="from transformers import GitForCausalLM",
        load="GitForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))",
    ),
}


def write_checkpoint(size: str, folder: Path) -> None:
    """A checkpoint of random weights that both libraries load."""
    config = CONFIGS[size]
    words = [f"word{number}" for number in range(config.text_decoder.vocabulary_size)]
    for number, word in {0: "[PAD]", 100: "[UNK]", CLS: "[CLS]", SEP: "[SEP]", 103: "[MASK]"}.items():
        words[number] = word
    save(Checkpoint(Git(config), Tokenizer(words), Preprocessing(), size, folder), folder)


def measure(name: str, folder: Path, dtype: str) -> list[float]:
    """Seconds, peak bytes while loading, and peak bytes once used, of one process."""
    command = [sys.executable, "-c", MEASURES[name], str(folder), dtype]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    measured: list[float] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Make the checkpoint, load it by turns, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=CONFIGS, default="large")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    measured: dict[str, list[list[float]]] = {name: [] for name in MEASURES}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / arguments.size
        write_checkpoint(arguments.size, folder)
        size = (folder / "model.safetensors").stat().st_size
        for run in range(arguments.runs + 1):
            for name, of_name in measured.items():
                figures = measure(name, folder, arguments.dtype)
                if run:
                    of_name.append(figures)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {arguments.runs} runs")
    print(f"{arguments.size}, a float32 file of {size / 1e6:,.0f} MB loaded as {arguments.dtype}")
    for name, of_name in measured.items():
        seconds, loading, used = (sorted(column) for column in zip(*of_name, strict=True))
        print(
            f"{name:13} {statistics.median(seconds):.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f}), "
            f"peak {max(loading) / size:.2f} × the file while loading, {max(used) / size:.2f} × once used"
        )


if __name__ == "__main__":
    main()

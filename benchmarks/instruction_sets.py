"""What each instruction set of this processor gives: images a second of processor time, of the image encoders.

    python -m benchmarks.instruction_sets [--repeats 3]

Each instruction set runs in its own process on one thread. ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY limit oneDNN and
PyTorch to it. nano encodes 4 images, a random base model 1. bfloat16 is left out where it is a plain loop. Each figure
is the best of `repeats`, with the ratio to float32 of the same row.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

INSTRUCTION_SETS = {
    "AVX2": "avx2",
    "AVX512_CORE": "avx512",
    "AVX512_CORE_VNNI": "avx512",
    "AVX512_CORE_BF16": "avx512",
    "AVX512_CORE_AMX": "avx512",
}
"""oneDNN's name of each, and PyTorch's."""
PRECISIONS = ("float32", "bfloat16", "int8")


def measure(repeats: int, bfloat16: bool) -> dict[str, float]:
    """Images a second of processor time by model and precision, in this process."""
    import torch

    from benchmarks.generate import CONFIGS, fast
    from picscribe.acceleration.int8 import quantize
    from picscribe.checkpoints import load
    from picscribe.model import Git

    def nano() -> Git:
        return load("nano").model

    def base() -> Git:
        torch.manual_seed(0)
        return Git(CONFIGS["base"]).eval().requires_grad_(False)

    rates = {}
    makers: list[tuple[str, Callable[[], Git], int]] = [("nano", nano, 4), ("base", base, 1)]
    for name, make, images in makers:
        for precision in PRECISIONS:
            if precision == "bfloat16" and not bfloat16:
                continue
            network = make()
            size = network.config.image_encoder.image_size
            pixels = torch.randn(images, 3, size, size)
            if precision == "bfloat16":
                network, pixels = network.bfloat16(), pixels.bfloat16()
            encoder = fast(quantize(network) if precision == "int8" else network).image_encoder
            with torch.inference_mode():
                encoder(pixels)
                taken = []
                for _ in range(repeats):
                    started = time.process_time()
                    encoder(pixels)
                    taken.append(time.process_time() - started)
            rates[f"{name} {precision}"] = images / min(taken)
    return rates


def main() -> None:
    """Print a row for each instruction set that the processor has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", choices=tuple(INSTRUCTION_SETS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.repeats, bfloat16=arguments.child != "AVX2")))
        return
    columns = [f"{model} {precision}" for model in ("nano", "base") for precision in PRECISIONS]
    print("| instruction set | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, capability in INSTRUCTION_SETS.items():
        if name.endswith("AMX") and not _has_amx():
            continue
        held = {"ONEDNN_MAX_CPU_ISA": name, "ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.instruction_sets", "--child", name]
        done = subprocess.run(
            [*command, "--repeats", str(arguments.repeats)],
            env={**os.environ, **held}, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        rates = json.loads(done.stdout.splitlines()[-1])
        cells = []
        for column in columns:
            exact = rates[column.split()[0] + " float32"]
            cells.append(f"{rates[column]:.1f} ({rates[column] / exact:.2f})" if column in rates else "–")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _has_amx() -> bool:
    import torch

    return bool(torch.cpu._is_amx_tile_supported())


if __name__ == "__main__":
    main()

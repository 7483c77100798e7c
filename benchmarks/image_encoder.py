"""nano's image encoder: plain PyTorch, picscribe's packed form in float32, bfloat16 and int8, and other engines.

    OMP_NUM_THREADS=1 python -m benchmarks.image_encoder [--images 8] [--runs 3]

Each engine computes in a process of its own, for one may change the allocator of another; processes take turns. Printed
are images for each second of processor time, which other work on the machine hardly changes, images a second of
wall-clock time, the ratio of processor time to plain's in the same round (median, least and most), and the relative
error. OpenVINO and ONNX Runtime read the network as ONNX, which takes the package onnx to write; none of the three is a
dependency of picscribe.
"""

import argparse
import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from benchmarks.generate import spread
from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.acceleration.fused import FusedEfficientNetLite
from picscribe.acceleration.int8_convolutions import Int8EfficientNetLite, can_convolve_int8
from picscribe.checkpoints import load
from picscribe.model.efficientnet_lite import EfficientNetLite
from picscribe.versions import versions

Encode = Callable[[np.ndarray], np.ndarray]
ENGINES = {
    "plain": "torch",
    "plain bfloat16": "torch",
    "packed": "torch",
    "packed bfloat16": "torch",
    "packed int8": "torch",
    "openvino": "openvino",
    "openvino bfloat16": "openvino",
    "onnxruntime": "onnxruntime",
}
"""Names, and the package that each needs."""


def encoder_of_nano() -> EfficientNetLite:
    """Its image encoder, in float32."""
    encoder = load("nano").model.image_encoder
    assert isinstance(encoder, EfficientNetLite)
    return encoder.requires_grad_(False)


def write_onnx(file: Path) -> None:
    """Write the encoder for any number of images of its own size."""
    encoder = encoder_of_nano()
    pixels = torch.zeros(1, 3, encoder.config.image_size, encoder.config.image_size)
    axes = {"pixels": {0: "images"}}
    # Tracing cannot work the grid of positions out.
    with mock.patch("picscribe.model.efficientnet_lite.resize_position_grid", lambda position, *_: position):
        torch.onnx.export(
            encoder, (pixels,), str(file), input_names=["pixels"], dynamo=False, opset_version=17, dynamic_axes=axes
        )


def make(engine: str, onnx: Path) -> Encode:
    """What computes features (B, I, D) of pixels (B, 3, height, width)."""
    threads = torch.get_num_threads()
    if engine.startswith("openvino"):
        openvino = importlib.import_module("openvino")

        precision = "bf16" if engine.endswith("bfloat16") else "f32"
        settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(str(onnx), "CPU", settings)
        return lambda pixels: np.array(compiled(pixels)[0])
    if engine == "onnxruntime":
        onnxruntime = importlib.import_module("onnxruntime")

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
        return lambda pixels: np.asarray(session.run(None, {"pixels": pixels})[0])
    encoder: torch.nn.Module = encoder_of_nano()
    dtype = torch.bfloat16 if engine.endswith("bfloat16") else torch.float32
    encoder = encoder.to(dtype)
    if engine.startswith("packed"):
        make_fast = Int8EfficientNetLite if engine.endswith("int8") else FusedEfficientNetLite
        encoder = make_fast(encoder)  # type: ignore[arg-type]
    return lambda pixels: np.asarray(encoder(torch.from_numpy(pixels).to(dtype)).float().numpy())


def measure(engine: str, onnx: Path, images: int, repeats: int) -> dict[str, float]:
    """Seconds a batch of processor and of wall-clock time, medians, and the relative error."""
    encode, side = make(engine, onnx), encoder_of_nano().config.image_size
    pixels = np.random.default_rng(0).standard_normal((images, 3, side, side), dtype=np.float32)
    with torch.inference_mode():
        exact, found = make("plain", onnx)(pixels), encode(pixels)
        encode(pixels)
        processor, wall = [], []
        for _ in range(repeats):
            started = time.process_time(), time.perf_counter()
            encode(pixels)
            processor.append(time.process_time() - started[0])
            wall.append(time.perf_counter() - started[1])
    error = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    return {"processor": statistics.median(processor), "wall": statistics.median(wall), "error": error}


def main() -> None:
    """Print a line an engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="batches a process")
    parser.add_argument("--engine", choices=list(ENGINES), help=argparse.SUPPRESS)
    parser.add_argument("--onnx", type=Path, default=Path(), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        print(json.dumps(measure(arguments.engine, arguments.onnx, arguments.images, arguments.repeats)))
        return
    print(f"{versions()}; {torch.get_num_threads()} threads, {arguments.images} images, {arguments.runs} rounds")
    installed = {engine for engine, package in ENGINES.items() if importlib.util.find_spec(package)}
    if not multiplies_bfloat16():
        installed -= {"plain bfloat16", "packed bfloat16"}
    if not can_convolve_int8():
        installed -= {"packed int8"}
    found: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES if engine in installed}
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "encoder.onnx"
        if importlib.util.find_spec("onnx"):
            write_onnx(onnx)
        else:
            found = {engine: runs for engine, runs in found.items() if ENGINES[engine] == "torch"}
        for _ in range(arguments.runs):
            for engine, runs in found.items():
                command = [sys.executable, "-m", "benchmarks.image_encoder", *sys.argv[1:]]
                command += ["--engine", engine, "--onnx", str(onnx)]
                runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    for engine in ENGINES.keys() - found.keys():
        print(f"{engine}: not measured; it is not installed, or this processor has no bfloat16 or VNNI")
    for engine, runs in found.items():
        ratios = [plain["processor"] / own["processor"] for plain, own in zip(found["plain"], runs, strict=True)]
        rates = [arguments.images / statistics.median(run[clock] for run in runs) for clock in ("processor", "wall")]
        print(
            f"{engine:18} {rates[0]:6.1f} images a processor second   {rates[1]:6.1f} a second   "
            f"{spread(ratios, '.2f')} times plain   error {runs[0]['error']:.1e}"
        )


if __name__ == "__main__":
    main()

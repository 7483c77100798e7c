"""Generation against transformers: the same random weights and images, alternating runs, in one process.

    python -m benchmarks.generate [--sizes base large] [--images 1 4 16] [--beams 1 4] [--runs 5]
                                  [--no-int8] [--no-memory]

For each case, over the rounds: median seconds, the ratio to transformers' of the same round (median, least and most),
and whether the tokens are transformers'. Of picscribe's float32 run further: which part of the machine's matmul rate,
measured in the same rounds, the encoder pass and the whole job reached, counting the multiplications that cannot be
avoided; and which part of the time went by after the image prefix was there. Memory is the peak above what a process
with both models holds, in a process of its own after a warm-up with one image.
"""

import argparse
import copy
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

import picscribe
from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.int8 import quantize
from picscribe.checkpoints.hugging_face import expected_tensors
from picscribe.checkpoints.tensor_names import empty_model
from picscribe.checkpoints.weights import fill, gather
from picscribe.generation import GenerationOptions, generate
from picscribe.generation.decoding import room_for
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig

CLS, SEP = 101, 102
NEW_TOKENS = 12
CONFIGS = {
    "base": GitConfig(text_decoder=TextDecoderConfig(cls_id=CLS, sep_id=SEP)),
    "large": GitConfig(
        ClipVitConfig(width=1024, layers=24, heads=16, mlp_width=4096, patch_size=14),
        TextDecoderConfig(cls_id=CLS, sep_id=SEP),
    ),
}


def pair(config: GitConfig) -> tuple[Git, Any]:
    """The same random weights in picscribe's plain network and in transformers."""
    torch.manual_seed(0)
    image, text = config.image_encoder, config.text_decoder
    assert isinstance(image, ClipVitConfig)
    theirs = transformers.GitForCausalLM(
        transformers.GitConfig(
            vision_config={
                "hidden_size": image.width,
                "intermediate_size": image.mlp_width,
                "num_hidden_layers": image.layers,
                "num_attention_heads": image.heads,
                "image_size": image.image_size,
                "patch_size": image.patch_size,
            },
            vocab_size=text.vocabulary_size,
            hidden_size=text.width,
            num_hidden_layers=text.layers,
            num_attention_heads=text.heads,
            intermediate_size=text.mlp_width,
            bos_token_id=CLS,
            eos_token_id=SEP,
            pad_token_id=0,
        )
    ).eval()
    with torch.no_grad():  # wide enough that words differ from step to step
        for parameter in (theirs.output.weight, theirs.git.embeddings.word_embeddings.weight):
            parameter.normal_(std=0.2)
    model = empty_model(config)
    state = gather(theirs.state_dict(), *expected_tensors(model), "transformers")
    return fill(model, state, "transformers"), theirs


def fast(model: Git) -> Git:
    """What computes after `picscribe.load`."""
    return Accelerated(model).accelerate().running


def ours(model: Git, pixels: Tensor, beams: int) -> list[list[int]]:
    """Tokens that picscribe generates, image by image."""
    options = GenerationOptions(
        beams=beams,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        length_penalty=1.0,
        scoring="transformers",
        special_tokens=True,
    )
    with torch.inference_mode():
        prefix = model.encode(pixels, room_for(1, 1, beams, NEW_TOKENS))
        found = generate(model, prefix, [[[CLS]]] * len(pixels), options)
    return [list(of_image[0][0].tokens) for of_image in found]


def theirs(model: Any, pixels: Tensor, beams: int) -> list[list[int]]:
    """Tokens that transformers generates, image by image."""
    with torch.inference_mode():
        found = model.generate(
            pixel_values=pixels,
            input_ids=torch.full((len(pixels), 1), CLS),
            num_beams=beams,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            early_stopping=False,
        )
    return [row[1 : 1 + NEW_TOKENS] for row in found.tolist()]


def status_bytes(field: str) -> int:
    """A field of this process's memory in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


def print_extra_bytes(size: str, images: int, beams: int, side: str) -> None:
    """Print the most memory in use during a run above that before it; for a process of its own."""
    model, peer = pair(CONFIGS[size])
    run = {"picscribe": partial(ours, fast(model)), "transformers": partial(theirs, peer)}[side]
    run(pixels_of(1), beams)
    pixels = pixels_of(images)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status_bytes("VmRSS")
    run(pixels, beams)
    print(status_bytes("VmHWM") - before)


def extra_mebibytes(size: str, images: int, beams: int, side: str) -> float:
    """What `print_extra_bytes` prints in a fresh process."""
    code = f"from benchmarks.generate import *; print_extra_bytes({size!r}, {images}, {beams}, {side!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) / 2**20


def pixels_of(images: int) -> Tensor:
    """Random pixels (images, 3, 224, 224)."""
    return torch.randn(images, 3, 224, 224, generator=torch.Generator().manual_seed(images))


def seconds_of(run: Callable[[], Any]) -> float:
    """Wall-clock seconds of a run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


MATRIX = torch.ones(2048, 2048)


def matmul_rate() -> float:
    """Floating-point operations a second of a large float32 matrix multiplication, the best of three."""
    return 2 * 2048**3 / min(seconds_of(lambda: torch.mm(MATRIX, MATRIX)) for _ in range(3))


def encoder_operations(config: GitConfig) -> float:
    """Floating-point operations an image of the encoder's multiplications."""
    image = config.image_encoder
    assert isinstance(image, ClipVitConfig)
    tokens = image.tokens
    layer = 2 * tokens * (4 * image.width**2 + 2 * image.width * image.mlp_width) + 4 * tokens**2 * image.width
    return 2 * tokens * image.width * 3 * image.patch_size**2 + image.layers * layer


def needed_operations(config: GitConfig, beams: int) -> float:
    """Operations an image that no generator can avoid: encoder, the image tokens' pass, a token a beam and step."""
    image, text = config.image_encoder, config.text_decoder
    assert isinstance(image, ClipVitConfig)
    tokens = image.tokens
    layer = 4 * text.width**2 + 2 * text.width * text.mlp_width
    # The image rows of the last layer end at keys and values.
    prefix = (text.layers - 1) * (2 * tokens * layer + 4 * tokens**2 * text.width) + 4 * tokens * text.width**2
    step = text.layers * (2 * layer + 4 * tokens * text.width) + 2 * text.width * text.vocabulary_size
    return encoder_operations(config) + 2 * tokens * image.width * text.width + prefix + NEW_TOKENS * beams * step


def rounds(sides: dict[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Seconds of each side, the sides in turn, after a round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(runs + 1):
        for name, side in sides.items():
            taken = seconds_of(side)
            if turn:
                seconds[name].append(taken)
    return seconds


def spread(values: Sequence[float], form: str) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def measure(size: str, models: dict[str, Git], peer: Any, images: int, beams: int, runs: int, memory: bool) -> None:
    """Run one case and print what it gave."""
    config, pixels = CONFIGS[size], pixels_of(images)
    tokens: dict[str, list[list[int]]] = {}
    rates: list[float] = []

    def side(name: str, generate: Callable[[Tensor, int], list[list[int]]]) -> Callable[[], None]:
        return lambda: tokens.__setitem__(name, generate(pixels, beams))

    @torch.inference_mode()
    def encoder() -> None:
        models["float32"].visual_features(pixels)

    @torch.inference_mode()
    def prefix() -> None:
        models["float32"].encode(pixels)

    seconds = rounds(
        {
            "matmul": lambda: rates.append(matmul_rate()),
            "encoder": encoder,
            "prefix": prefix,
            **{name: side(name, partial(ours, model)) for name, model in models.items()},
            "transformers": side("transformers", partial(theirs, peer)),
        },
        runs,
    )
    print(f"{size}, {images} images, {beams} beams: transformers {spread(seconds['transformers'], '.2f')} s")
    for name in models:
        ratios = [b / a for a, b in zip(seconds[name], seconds["transformers"], strict=True)]
        same = "tokens equal" if tokens[name] == tokens["transformers"] else "other tokens"
        print(f"  picscribe {name:8} {spread(seconds[name], '.2f')} s   ratio {spread(ratios, '.2f')}   {same}")
    whole = [
        images * needed_operations(config, beams) / s / r for s, r in zip(seconds["float32"], rates[1:], strict=True)
    ]
    passes = [images * encoder_operations(config) / s / r for s, r in zip(seconds["encoder"], rates[1:], strict=True)]
    after = [1 - p / s for p, s in zip(seconds["prefix"], seconds["float32"], strict=True)]
    print(f"  of the matmul rate: encoder {spread(passes, '.0%')}, whole job {spread(whole, '.0%')}", end="; ")
    print(f"after the prefix {spread(after, '.0%')} of the time")
    if memory:
        mine, other = (extra_mebibytes(size, images, beams, name) for name in ("picscribe", "transformers"))
        print(f"  memory above the weights: {mine:.0f} against {other:.0f} MiB, {mine / max(other, 1):.2f} of it")
    sys.stdout.flush()


def main() -> None:
    """Measure every case asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(CONFIGS), default=list(CONFIGS))
    parser.add_argument("--images", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-int8", action="store_true")
    parser.add_argument("--no-memory", action="store_true")
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, picscribe {picscribe.__version__}; {arguments.runs} rounds, "
        f"{NEW_TOKENS} new tokens; float32 matmul {matmul_rate() / 1e9:.0f} GFLOP/s"
    )
    for size in arguments.sizes:
        model, peer = pair(CONFIGS[size])
        models = {} if arguments.no_int8 else {"int8": fast(quantize(copy.deepcopy(model)))}
        models = {"float32": fast(model), **models}
        for images in arguments.images:
            for beams in arguments.beams:
                measure(size, models, peer, images, beams, arguments.runs, not arguments.no_memory)


if __name__ == "__main__":
    main()

"""Which precision a network is fastest in on this processor: measured once, then remembered.

What was found is kept in `precision.json` in the user's cache folder (XDG_CACHE_HOME/picscribe, ~/.cache/picscribe),
for each processor, PyTorch and sizes of a network. A file that is not there, broken or not writable
only means that the next process measures again.
"""

import contextlib
import copy
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.arithmetic import multiplies_bfloat16, multiplies_int8
from picscribe.acceleration.int8 import find_engines, quantize
from picscribe.errors import InputError
from picscribe.model import ClipVitConfig, Git, GitConfig, TextCache
from picscribe.text_files import split_lines
from picscribe.whole_files import write_whole

SECONDS = 1.0
"""How long is measured, about."""
ROUNDS = 8
"""At most; two at least, the first of which warms up."""
WORTH = 1.1
"""How many times as fast another precision must be to be chosen."""
IMAGES, BEAMS, STEPS = 8, 4, 10
"""What is measured: a small batch of captions of usual length."""
VIT_IMAGES = 2
"""A transformer multiplies enough rows with fewer."""
MOST_REMEMBERED = 200
FORMS = 3
"""Counts the changes of fast forms after which all of them are to be measured again."""
INT8 = "int8"


@dataclass(frozen=True)
class Precision:
    """What to compute in, `dtype` and `quantize` as `checkpoints.load` takes them, and why."""

    dtype: str
    reason: str
    quantize: str | None = None

    def __str__(self) -> str:
        return f"{self.quantize or self.dtype}: {self.reason}"


def find_fast_precision(config: GitConfig, device: str = "cpu") -> Precision:
    """The fastest of float32, bfloat16 and int8 for a network of these sizes on this machine.

    On a CPU those are measured that it has instructions for; other devices are not measured.
    """
    if not device.startswith("cpu"):
        has_bfloat16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
        if has_bfloat16:
            return Precision("bfloat16", "this GPU computes in it")
        return Precision("float32", f"on {device} nothing else is known to be faster")
    remembered = recall_fast_precision(config)
    if remembered is not None:
        return remembered
    ratios = {name: round(ratio, 2) for name, ratio in times_as_fast(config).items()}
    _write(_file(), {**_read(_file()), _key(config): ratios})
    return _fastest(ratios, "measured")


def recall_fast_precision(config: GitConfig) -> Precision | None:
    """What `find_fast_precision` finds on the CPU without measuring; None where it would have to measure."""
    if not candidates():
        return Precision("float32", "this processor has no bfloat16 or int8 arithmetic")
    ratios = _read(_file()).get(_key(config), {})
    return _fastest(ratios, "measured before") if set(candidates()) <= set(ratios) else None


def _fastest(ratios: dict[str, float], origin: str) -> Precision:
    others = candidates()
    best = max(others, key=lambda name: ratios[name])
    said = ", ".join(f"{name} takes 1/{ratios[name]:.2f}" for name in others)
    reason = f"{said} of float32's processor time here ({origin})"
    if ratios[best] < WORTH:
        return Precision("float32", reason)
    return Precision("float32", reason, INT8) if best == INT8 else Precision(best, reason)


def candidates() -> tuple[str, ...]:
    """What this CPU may be faster in than in float32.

    int8 only where products of 8 bits are summed in 32: with 7 bits, as elsewhere, too much is lost.
    """
    return ("bfloat16",) * multiplies_bfloat16() + (INT8,) * (multiplies_int8() and bool(find_engines()))


def times_as_fast(config: GitConfig) -> dict[str, float]:
    """Processor time of float32 over each candidate's for captions of a few images with beams, of random weights.

    Of a transformer only one layer of the decoder is computed, and as much of the image encoder and of the vocabulary
    as there is for one. One thread computes, since threads that wait for each other count as busy.
    """
    encoder, decoder, images = config.image_encoder, config.text_decoder, IMAGES
    if isinstance(encoder, ClipVitConfig):
        encoder = replace(encoder, layers=max(1, round(encoder.layers / decoder.layers)))
        special = max(decoder.pad_id, decoder.cls_id, decoder.sep_id)
        words = max(decoder.vocabulary_size // decoder.layers, special + 1)
        decoder, images = replace(decoder, layers=1, vocabulary_size=words), VIT_IMAGES
    small = GitConfig(encoder, decoder)
    names = ("float32", *candidates())
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):  # the caller's random numbers stay
        network = Git(small).eval().requires_grad_(False)
        running = {name: _fast_form(copy.deepcopy(network), name) for name in names}
        pixels = torch.randn(images, 3, encoder.image_size, encoder.image_size)
    best = dict.fromkeys(names, float("inf"))
    started = time.monotonic()
    with _one_thread(), torch.inference_mode():
        for number in range(ROUNDS):
            for name, model in running.items():
                before = time.process_time()
                _decode(model, pixels.bfloat16() if name == "bfloat16" else pixels)
                best[name] = min(best[name], time.process_time() - before)
            if number and time.monotonic() - started > SECONDS:
                break
    return {name: best["float32"] / max(best[name], 1e-9) for name in names[1:]}


def _decode(model: Git, pixels: Tensor) -> None:
    """The steps of a caption with beams, each of which takes the first word of the vocabulary."""
    steps = min(STEPS, model.config.text_decoder.max_positions)
    cache = TextCache(model.encode(pixels, BEAMS * steps), BEAMS, BEAMS * steps)
    tokens = torch.zeros((len(pixels), BEAMS), dtype=torch.long)
    for step in range(steps):
        model.next_logits(tokens, cache, torch.full_like(tokens, step))


def _fast_form(network: Git, name: str) -> Git:
    if name == "bfloat16":
        network = network.bfloat16()
    return Accelerated(quantize(network) if name == INT8 else network).accelerate().running


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _file() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(folder, "picscribe", "precision.json")


def _key(config: GitConfig) -> str:
    machine = [platform.machine(), _processor(), torch.__version__, FORMS]
    return hashlib.sha256(json.dumps([*machine, repr(config)]).encode()).hexdigest()[:24]


def _processor() -> str:
    """What tells processors apart: the model's name and its instructions, where the system lists them."""
    with contextlib.suppress(OSError):
        listed = split_lines(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
        return "\n".join(sorted({line for line in listed if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor()


def _read(file: Path) -> dict[str, dict[str, float]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: _ratios(one) for key, one in found.items() if isinstance(one, dict)}


def _ratios(found: dict[str, object]) -> dict[str, float]:
    return {name: float(ratio) for name, ratio in found.items() if isinstance(ratio, int | float) and 0 < ratio < 1e6}


def _write(file: Path, known: dict[str, dict[str, float]]) -> None:
    with contextlib.suppress(OSError, InputError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(dict(list(known.items())[-MOST_REMEMBERED:]), indent=0) + "\n")

"""Whether a network is faster in bfloat16 than in float32 on this processor: measured once, then remembered.

What was found is kept in `precision.json` in the user's cache folder (XDG_CACHE_HOME/picscribe, ~/.cache/picscribe),
for each processor, number of threads, PyTorch and sizes of a network. A file that is not there, broken or not writable
only means that the next process measures again.
"""

import contextlib
import hashlib
import json
import os
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.arithmetic import multiplies_bfloat16
from picscribe.errors import InputError
from picscribe.model import ClipVitConfig, Git, GitConfig
from picscribe.text_files import split_lines
from picscribe.whole_files import write_whole

SECONDS = 1.0
"""How long is measured, about."""
ROUNDS = 7
WORTH = 1.1
"""How many times as fast another precision must be to be chosen."""
MOST_REMEMBERED = 200


@dataclass(frozen=True)
class Precision:
    """What to compute in, and why."""

    dtype: str
    reason: str

    def __str__(self) -> str:
        return f"{self.dtype}: {self.reason}"


def find_fast_precision(config: GitConfig, device: str = "cpu") -> Precision:
    """The fastest of float32 and bfloat16 for a network of these sizes on this machine.

    int8 is not among them: its results depend on what else is in a batch. Other devices than CPUs are not measured.
    """
    if not device.startswith("cpu"):
        has_bfloat16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
        if has_bfloat16:
            return Precision("bfloat16", "this GPU computes in it")
        return Precision("float32", f"on {device} nothing else is known to be faster")
    if not multiplies_bfloat16():
        return Precision("float32", "this processor has no bfloat16 arithmetic")
    key, file = _key(config), _file()
    known = _read(file)
    if key in known:
        ratio, origin = known[key], "measured before"
    else:
        ratio, origin = round(times_as_fast(config), 2), "measured"
        _write(file, {**known, key: ratio})
    dtype = "bfloat16" if ratio >= WORTH else "float32"
    return Precision(dtype, f"bfloat16 takes 1/{ratio:.2f} of float32's processor time here ({origin})")


def times_as_fast(config: GitConfig) -> float:
    """Processor time of float32 over that of bfloat16: random weights, one layer of each transformer, two images."""
    encoder, decoder = config.image_encoder, replace(config.text_decoder, layers=1)
    small = GitConfig(replace(encoder, layers=1) if isinstance(encoder, ClipVitConfig) else encoder, decoder)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):  # the caller's random numbers stay
        networks = {torch.float32: Git(small).eval().requires_grad_(False)}
        networks[torch.bfloat16] = Git(small).eval().requires_grad_(False).bfloat16()
        pixels = torch.randn(2, 3, encoder.image_size, encoder.image_size)
    running = {dtype: Accelerated(network).accelerate().running for dtype, network in networks.items()}
    tokens, best = torch.zeros((2, 4, 1), dtype=torch.long), dict.fromkeys(running, float("inf"))
    started = time.monotonic()
    with torch.inference_mode():
        for number in range(ROUNDS + 1):
            for dtype, model in running.items():
                before = time.process_time()
                model(pixels.to(dtype), tokens)
                if number:  # the first warms up
                    best[dtype] = min(best[dtype], time.process_time() - before)
            if number and time.monotonic() - started > SECONDS:
                break
    return best[torch.float32] / max(best[torch.bfloat16], 1e-9)


def _file() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(folder, "picscribe", "precision.json")


def _key(config: GitConfig) -> str:
    machine = [platform.machine(), _processor(), torch.get_num_threads(), torch.__version__]
    return hashlib.sha256(json.dumps([*machine, repr(config)]).encode()).hexdigest()[:24]


def _processor() -> str:
    """What tells processors apart: the model's name and its instructions, where the system lists them."""
    with contextlib.suppress(OSError):
        listed = split_lines(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
        return "\n".join(sorted({line for line in listed if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor()


def _read(file: Path) -> dict[str, float]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: float(ratio) for key, ratio in found.items() if isinstance(ratio, int | float) and 0 < ratio < 1e6}


def _write(file: Path, known: dict[str, float]) -> None:
    with contextlib.suppress(OSError, InputError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(dict(list(known.items())[-MOST_REMEMBERED:]), indent=0) + "\n")

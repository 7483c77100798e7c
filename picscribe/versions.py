"""What a result was computed with: it goes into every report and every trained checkpoint."""

import platform

import numpy
import torch

import picscribe
from picscribe.acceleration.arithmetic import multiplies_bfloat16


def versions() -> dict[str, str]:
    """Versions of picscribe and of what it computes with, and the machine."""
    lacking = "" if multiplies_bfloat16() else ", no bfloat16"
    machine = f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads{lacking}"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name()}"
    return {
        "picscribe": picscribe.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "machine": machine,
    }

"""torch.compile for a loaded network, tried out at once, so that a machine that cannot compile says so."""

import torch

from picscribe.errors import ConfigurationError
from picscribe.model import Git


def compile_model(model: Git) -> None:
    """Compile the image encoder in place, for one image now and for other batch sizes when they come.

    The names of weights stay. The decoder's steps grow with each token and are not compiled. On a CPU this takes from
    half a minute to minutes and gains nothing over PyTorch's own products: it is for GPUs.
    Raises ConfigurationError where this machine lacks what torch.compile needs.
    """
    weight, size = next(model.parameters()), model.config.image_encoder.image_size
    model.image_encoder.compile()
    try:
        with torch.inference_mode():
            model.image_encoder(torch.zeros((1, 3, size, size), dtype=weight.dtype, device=weight.device))
    except Exception as error:  # no compiler, no Python headers, no triton: each has its own type in each version
        reason = next(line for line in [*str(error).split("\n"), type(error).__name__] if line.strip())
        raise ConfigurationError(
            f"torch.compile does not work here ({reason.strip()[:200]}): it needs a C++ compiler such as g++, and on a "
            "GPU triton; install them, or leave compile out"
        ) from None

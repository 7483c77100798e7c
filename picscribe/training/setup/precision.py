"""The numbers that a run computes in: those of its recipe, where the processor can."""

import torch

from picscribe.acceleration.arithmetic import multiplies_bfloat16

NO_BFLOAT16 = "this processor has no bfloat16 arithmetic: the run computes in float32 instead"


def precision_here(asked: str) -> str:
    """The recipe's precision, but float32 for bfloat16 on a CPU that cannot multiply it, where it would take weeks."""
    if asked == "bfloat16" and not torch.cuda.is_available() and not multiplies_bfloat16():
        return "float32"
    return asked

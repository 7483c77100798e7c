"""What the processor computes quickly in."""

import torch


def multiplies_bfloat16() -> bool:
    """Whether PyTorch has products in bfloat16 on this CPU that are not a plain loop, dozens of times slower."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # type: ignore[no-untyped-call]

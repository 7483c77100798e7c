"""What the processor computes quickly in."""

import torch


def multiplies_bfloat16() -> bool:
    """Whether PyTorch has products in bfloat16 on this CPU that are not a plain loop, dozens of times slower."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # type: ignore[no-untyped-call]


def multiplies_int8() -> bool:
    """Whether this CPU sums products of 8 bits in 32 bits at once (VNNI)."""
    return bool(torch.cpu._is_vnni_supported())

"""What tells one checkpoint from another: a hash of what it computes with, the same in every file layout."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from picscribe.checkpoints.checkpoint import Checkpoint


def fingerprint(checkpoint: Checkpoint, weights: Iterable[tuple[str, Tensor]] | None = None) -> str:
    """SHA-256 of configuration, preprocessing, vocabulary and weights, as they are in memory.

    `weights` by name, sorted, where the network does not hold them itself.

    Not of the files: a checkpoint and its conversion to the other layout have the same. About a second a gigabyte.
    """
    digest = hashlib.sha256(repr((checkpoint.model.config, checkpoint.preprocessing)).encode())
    digest.update("\n".join(checkpoint.tokenizer.vocabulary).encode())
    for name, tensor in sorted(checkpoint.model.state_dict().items()) if weights is None else weights:
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

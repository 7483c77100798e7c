"""The language-modelling loss with the original's label smoothing."""

import math

import torch.nn.functional as F
from torch import Tensor


def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Mean KL divergence from smoothed targets to the model: logits (N, V), targets (N,) → a scalar.

    The target word has probability 1 − smoothing, the other V − 1 words share the rest, as in the original code; it
    differs from cross-entropy with the same targets by their entropy, so a perfect model has loss 0.
    """
    vocabulary = logits.shape[-1]
    log_probs = F.log_softmax(logits.float(), dim=-1)
    other = smoothing / (vocabulary - 1)
    target_log_prob = log_probs.gather(-1, targets[:, None])[:, 0]
    cross_entropy = -(1 - smoothing - other) * target_log_prob - other * log_probs.sum(-1)
    entropy = -(1 - smoothing) * math.log(1 - smoothing)
    if smoothing:
        entropy -= smoothing * math.log(other)
    return cross_entropy.mean() - entropy

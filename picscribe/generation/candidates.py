"""The likeliest next tokens of every beam, found in as few passes over the vocabulary as can be."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from picscribe.generation.constraints import NO_TOKEN, Filter

ALL = 0
"""As a number of candidates: the whole vocabulary, unsorted."""


@dataclass(frozen=True)
class Candidates:
    """The C likeliest next tokens of each of K beams of N texts, best first: `token` and `log_prob`, both (N, K, C).

    Where every token was asked for (`ALL`) they stand in the vocabulary's order, which costs no sorting.
    """

    token: Tensor
    log_prob: Tensor


def likeliest(
    logits: Tensor,
    count: int,
    filters: Sequence[Filter],
    prompt: Tensor,
    new_tokens: Tensor,
    sep_id: int,
    penalties: Sequence[Filter] = (),
    wanted: Tensor | None = None,
) -> Candidates:
    """The `count` likeliest tokens that `filters` allow, or `ALL`, from logits (N, K, V), which are changed.

    `prompt` (N, K, T) and `new_tokens` (N, K, steps) are what filters look back on. Log-probabilities are those of the
    whole vocabulary, after `penalties`, which change logits. A beam that the filters leave no token may end, and its
    likeliest candidate is [SEP]. `wanted` (N, K, W) are candidates too, however unlikely, where the filters allow them.
    """
    if filters or penalties:
        history = torch.cat([prompt, new_tokens], dim=2)
        for apply in penalties:
            apply(logits, history, new_tokens.shape[2])
    normaliser = logits.logsumexp(-1, keepdim=True)
    ending = logits[..., sep_id, None].clone()
    for apply in filters:
        apply(logits, history, new_tokens.shape[2])
    if count == ALL:
        stuck = torch.isneginf(logits.amax(-1))
        logits[..., sep_id] = torch.where(stuck, ending[..., 0], logits[..., sep_id])
        return Candidates(torch.arange(logits.shape[-1], device=logits.device).expand_as(logits), logits - normaliser)
    best, token = logits.max(-1, keepdim=True) if count == 1 else logits.topk(min(count, logits.shape[-1]), dim=-1)
    if filters:
        stuck = best[..., :1] == -torch.inf
        best[..., :1] = torch.where(stuck, ending, best[..., :1])
        token[..., :1] = torch.where(stuck, sep_id, token[..., :1])
    if wanted is not None:
        known = (wanted[..., None] == token[:, :, None]).any(-1) | (wanted == NO_TOKEN)
        known |= (wanted[..., None] == wanted[:, :, None]).tril(-1).any(-1)
        logit = logits.gather(-1, wanted.clamp(min=0)).masked_fill(known, -torch.inf)
        best, token = torch.cat([best, logit], dim=-1), torch.cat([token, wanted.clamp(min=0)], dim=-1)
    return Candidates(token, best - normaliser)

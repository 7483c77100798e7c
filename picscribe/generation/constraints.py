"""Which tokens may come next: small filters that forbid tokens, and the likeliest of what they leave.

A forbidden token's log-probability is minus infinity.

The log-probabilities of allowed tokens stay what the model said, so a constrained caption's score compares with a free
one's.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from picscribe.errors import ConfigurationError
from picscribe.generation.chooser import ALL, NO_TOKEN, Candidates
from picscribe.generation.options import GenerationOptions

Filter = Callable[[Tensor, Tensor, int], None]
"""(scores (N, K, V) to change in place, history (N, K, prompt and new tokens so far), new tokens so far).

Scores are logits or log-probabilities."""


def forbid_tokens(tokens: Sequence[int]) -> Filter:
    """Never these tokens."""
    forbidden = torch.tensor(sorted(set(tokens)))

    def apply(log_probs: Tensor, history: Tensor, new_tokens: int) -> None:
        log_probs.index_fill_(-1, forbidden.to(log_probs.device), -torch.inf)

    return apply


def forbid_ending_before(min_new_tokens: int, sep_id: int) -> Filter:
    """No [SEP] before so many new tokens."""

    def apply(log_probs: Tensor, history: Tensor, new_tokens: int) -> None:
        if new_tokens < min_new_tokens:
            log_probs[..., sep_id] = -torch.inf

    return apply


def forbid_sequences(sequences: Sequence[Sequence[int]]) -> Filter:
    """Never one of these runs of tokens: where all but its last token stand, the last may not follow.

    A run is forbidden wherever it comes, inside a longer word too: with [dog] forbidden, `dog ##gy` is as well, but not
    `dogs` where that is a token of its own. Raises ConfigurationError for a run of nothing.
    """
    by_length: dict[int, list[Sequence[int]]] = {}
    for sequence in sequences:
        if not sequence:
            raise ConfigurationError("a banned word has no token of the vocabulary: leave it out")
        by_length.setdefault(len(sequence), []).append(sequence)
    tables = [torch.tensor(of_length) for of_length in by_length.values()]

    def apply(log_probs: Tensor, history: Tensor, new_tokens: int) -> None:
        for table in tables:
            begins, last = table[:, :-1].to(history.device), table[:, -1].to(history.device)
            length = begins.shape[1]
            if length > history.shape[-1]:
                continue
            latest = history[..., None, history.shape[-1] - length :]
            texts, beams, run = (latest == begins).all(-1).nonzero(as_tuple=True)
            log_probs[texts, beams, last[run]] = -torch.inf

    return apply


def forbid_immediate_repeat() -> Filter:
    """Never the token just produced; the prompt's last token may come again, as in the original code."""

    def apply(log_probs: Tensor, history: Tensor, new_tokens: int) -> None:
        if new_tokens:
            log_probs.scatter_(-1, history[..., -1:].long(), -torch.inf)

    return apply


def forbid_repeated_ngrams(size: int) -> Filter:
    """No group of `size` tokens, the prompt's included, comes twice."""

    def apply(log_probs: Tensor, history: Tensor, new_tokens: int) -> None:
        if history.shape[-1] < size:
            return
        groups = history.unfold(-1, size, 1)
        latest = history[..., history.shape[-1] - size + 1 :]
        repeats = (groups[..., :-1] == latest[..., None, :]).all(-1) & (groups != NO_TOKEN).all(-1)
        texts, beams, where = repeats.nonzero(as_tuple=True)
        log_probs[texts, beams, groups[texts, beams, where, -1].long()] = -torch.inf

    return apply


def penalise_repetition(penalty: float) -> Filter:
    """Logits of tokens that the text holds already, its prompt's included, divided by `penalty`, or where they are
    negative multiplied: as in the original code, and in CTRL (Keskar et al., 2019, arXiv 1909.05858)."""

    def apply(logits: Tensor, history: Tensor, new_tokens: int) -> None:
        held = torch.where(history == NO_TOKEN, history[..., -1:], history).long()
        said = logits.gather(-1, held)
        logits.scatter_(-1, held, torch.where(said < 0, said * penalty, said / penalty))

    return apply


def build_filters(
    options: GenerationOptions, sep_id: int, never_written: Sequence[int], banned_sequences: Sequence[Sequence[int]]
) -> list[Filter]:
    """The filters that `options` asks for; `banned_sequences` are the tokens of its banned words."""
    filters: list[Filter] = []
    if never_written and not options.special_tokens:
        filters.append(forbid_tokens(never_written))
    if options.min_new_tokens:
        filters.append(forbid_ending_before(options.min_new_tokens, sep_id))
    if banned_sequences:
        filters.append(forbid_sequences(banned_sequences))
    if options.no_immediate_repeat:
        filters.append(forbid_immediate_repeat())
    if options.no_repeat_ngram:
        filters.append(forbid_repeated_ngrams(options.no_repeat_ngram))
    return filters


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

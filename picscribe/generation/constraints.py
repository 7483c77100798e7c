"""Which tokens may come next: small filters that set a forbidden token's log-probability to minus infinity.

The log-probabilities of allowed tokens stay what the model said, so a constrained caption's score compares with a free
one's.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from picscribe.errors import ConfigurationError
from picscribe.generation.options import GenerationOptions

NO_TOKEN = -1
"""Fills a history before its prompt begins, where prompts of different lengths stand side by side."""

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
            raise ConfigurationError("a banned word holds nothing that the tokenizer knows: leave it out")
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

"""Greedy search: the likeliest token each time."""

import torch
from torch import Tensor

from picscribe.generation.candidates import Candidates
from picscribe.generation.hypothesis import Hypothesis


class GreedySearch:
    """Chooser of N texts, one line of tokens each; a text ends at [SEP] or at the limit."""

    beams = 1

    def __init__(self, max_new_tokens: int, sep_id: int, texts: int, device: torch.device) -> None:
        self.max_new_tokens, self.sep_id = max_new_tokens, sep_id
        self.done = torch.zeros(texts, dtype=torch.bool, device=device)
        self.tokens = torch.zeros((texts, 1, 0), dtype=torch.long, device=device)
        self.log_probs = torch.zeros((texts, 1, 0), device=device)

    def choose(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """The beam each text goes on from, always 0, and its next token, both (N, 1)."""
        best, token = candidates.log_prob[..., 0], candidates.token[..., 0]
        token = torch.where(self.done[:, None], self.sep_id, token)
        self.tokens = torch.cat([self.tokens, token[..., None]], dim=2)
        self.log_probs = torch.cat([self.log_probs, best[..., None]], dim=2)
        self.done |= (token[:, 0] == self.sep_id) | (self.tokens.shape[2] == self.max_new_tokens)
        return torch.zeros_like(token), token

    def select(self, texts: Tensor) -> None:
        """Go on with some of the texts only, by index (n,)."""
        self.done, self.tokens, self.log_probs = self.done[texts], self.tokens[texts], self.log_probs[texts]

    def hypotheses(self) -> list[list[Hypothesis]]:
        """The one hypothesis of every text; its score is its log-probability."""
        results = []
        for tokens, log_probs in zip(self.tokens[:, 0].tolist(), self.log_probs[:, 0].tolist(), strict=True):
            length = tokens.index(self.sep_id) if self.sep_id in tokens else len(tokens)
            counted = tuple(log_probs[: length + 1])
            results.append([Hypothesis(tuple(tokens[:length]), counted, sum(counted))])
        return results

"""How a beam search ranks what has ended and when it stops: as the original code does, and as transformers does."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class BeamScoring(Protocol):
    """The rules in which the two beam searches differ; `step` counts the new tokens before the candidates' own."""

    def kept(self, beams: int, num_captions: int) -> int:
        """How many ended hypotheses of a text are kept."""

    def at_limit(self, step: int, max_new_tokens: int) -> bool:
        """Whether every candidate of this step ends."""

    def keeps_last_word(self) -> bool:
        """Whether a hypothesis cut at the limit keeps the word that was chosen there."""

    def may_end(self, ends: Tensor, source: Tensor, beams: int) -> Tensor:
        """Which ending candidates (N, 2K), best first, each of the beam in `source` (N, 2K), count as hypotheses."""

    def normalise(self, log_prob: Tensor, prompt_length: Tensor, step: int) -> Tensor:
        """Scores (N, C) of hypotheses that end at this step; `prompt_length` (N,) counts [CLS]."""

    def done_before(self, best: Tensor, worst_kept: Tensor, prompt_length: Tensor, limit: int) -> Tensor:
        """Texts (N,) that end before this step's candidates are used; `best` (N,) is the best one's log-probability."""

    def done_after(self, best_open: Tensor, worst_kept: Tensor, step: int) -> Tensor:
        """Texts (N,) that end after this step; `best_open` (N,) is their best open beam's log-probability."""


@dataclass(frozen=True)
class GitScoring:
    """The original code's: log-probability / ((5 + length) / 6)^penalty, length with [CLS] and prompt, without [SEP].

    A text ends when even its best candidate, at the most favourable length, could not beat the worst kept hypothesis.
    At the length limit the word chosen is dropped, though its log-probability counts.
    """

    length_penalty: float

    def _norm(self, length: Tensor) -> Tensor:
        return ((5 + length) / 6) ** self.length_penalty

    def kept(self, beams: int, num_captions: int) -> int:
        return num_captions

    def at_limit(self, step: int, max_new_tokens: int) -> bool:
        return step == max_new_tokens

    def keeps_last_word(self) -> bool:
        return False

    def may_end(self, ends: Tensor, source: Tensor, beams: int) -> Tensor:
        # Candidates are taken in order until the next step's beams are full; what comes after is not looked at.
        open_before = (~ends).cumsum(1) - (~ends).long()
        # At the limit all candidates of a beam are one text, its last word dropped: the original, asked for several
        # captions, lists it several times.
        same_text = (source[:, :, None] == source[:, None, :]) & ends[:, None, :]
        return ends & (open_before < beams) & ~same_text.tril(-1).any(2)

    def normalise(self, log_prob: Tensor, prompt_length: Tensor, step: int) -> Tensor:
        return log_prob / self._norm(prompt_length + step)[:, None]

    def done_before(self, best: Tensor, worst_kept: Tensor, prompt_length: Tensor, limit: int) -> Tensor:
        # The original bounds by the longest caption that its limit allows, [CLS] and prompt counted.
        return worst_kept >= best / self._norm(prompt_length + limit)

    def done_after(self, best_open: Tensor, worst_kept: Tensor, step: int) -> Tensor:
        return torch.zeros_like(worst_kept, dtype=torch.bool)


@dataclass(frozen=True)
class TransformersScoring:
    """transformers': log-probability / new tokens^penalty, [SEP] counted; only the first K candidates may end.

    A text ends when K hypotheses are kept and its best open beam, at its present length, does not beat the worst.
    """

    length_penalty: float

    def kept(self, beams: int, num_captions: int) -> int:
        return beams

    def at_limit(self, step: int, max_new_tokens: int) -> bool:
        return step + 1 == max_new_tokens

    def keeps_last_word(self) -> bool:
        return True

    def may_end(self, ends: Tensor, source: Tensor, beams: int) -> Tensor:
        return ends & (torch.arange(ends.shape[1], device=ends.device) < beams)

    def normalise(self, log_prob: Tensor, prompt_length: Tensor, step: int) -> Tensor:
        return log_prob / (step + 1) ** self.length_penalty

    def done_before(self, best: Tensor, worst_kept: Tensor, prompt_length: Tensor, limit: int) -> Tensor:
        return torch.zeros_like(worst_kept, dtype=torch.bool)

    def done_after(self, best_open: Tensor, worst_kept: Tensor, step: int) -> Tensor:
        return worst_kept >= best_open / (step + 1) ** self.length_penalty

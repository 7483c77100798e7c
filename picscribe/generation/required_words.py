"""Beam search for texts that must hold given words: beams are shared among those that hold more and fewer of them.

Source: dynamic beam allocation, Post and Vilar, 2018 (arXiv 1804.06609).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from picscribe.generation.beam_search import NEVER, BeamSearch
from picscribe.generation.candidates import Candidates
from picscribe.generation.constraints import NO_TOKEN
from picscribe.generation.scoring import BeamScoring


class RequiredWordsSearch(BeamSearch):
    """Chooser of N texts with K beams each, of which only those end that hold every phrase."""

    def __init__(
        self,
        phrases: Sequence[Sequence[int]],
        word_pieces: Tensor,
        beams: int,
        num_captions: int,
        max_new_tokens: int,
        scoring: BeamScoring,
        sep_id: int,
        prompt_length: Tensor,
    ) -> None:
        """`phrases` are tokens, none empty; `word_pieces` (V,) is True for tokens that go on within a word."""
        super().__init__(beams, num_captions, max_new_tokens, scoring, sep_id, prompt_length)
        device = prompt_length.device
        longest = max(map(len, phrases))
        self.phrases = torch.tensor(
            [[*phrase, *[NO_TOKEN] * (longest - len(phrase))] for phrase in phrases], device=device
        )
        self.lengths = torch.tensor([len(phrase) for phrase in phrases], device=device)
        self.word_pieces = word_pieces.to(device)
        self.progress = torch.zeros((len(prompt_length), beams, len(phrases)), dtype=torch.long, device=device)
        self.ends_phrase = torch.zeros((len(prompt_length), beams), dtype=torch.bool, device=device)

    def wanted(self) -> Tensor | None:
        """The next token (N, K, phrases) of every phrase that a beam does not hold yet."""
        return self._next_token(self.progress)

    def _next_token(self, progress: Tensor) -> Tensor:
        phrases = self.phrases.expand(*progress.shape, -1)
        token = phrases.gather(-1, progress.clamp(max=phrases.shape[-1] - 1)[..., None])[..., 0]
        return token.masked_fill(progress == self.lengths, NO_TOKEN)

    def _after(self, progress: Tensor, token: Tensor) -> Tensor:
        """How much of each phrase (…, phrases) a text holds once `token` (…) is written; what it holds whole stays."""
        begins = (token[..., None] == self.phrases[:, 0]).long()
        goes_on = token[..., None] == self._next_token(progress)
        after = torch.where(goes_on, progress + 1, begins)
        return torch.where(progress == self.lengths, progress, after)

    def choose(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Which beam each new beam goes on from, and its next token, both (N, K)."""
        source, token = super().choose(candidates)
        before = self.progress.gather(1, source[..., None].expand(-1, -1, len(self.lengths)))
        self.progress = self._after(before, token)
        self.ends_phrase = ((self.progress == self.lengths) & (before < self.lengths)).any(-1)
        return source, token

    def _allowed(self, total: Tensor, token: Tensor) -> Tensor:
        """No text ends before it holds every phrase, and no phrase's last word becomes part of a longer one."""
        barred = self.ends_phrase[..., None] & self.word_pieces[token]
        if not self.scoring.at_limit(self.step, self.max_new_tokens):
            missing = (self.progress < self.lengths).any(-1)
            barred |= missing[..., None] & (token == self.sep_id)
        # Nor does a beam count that has not begun: its candidates are those of the first.
        return total.masked_fill(barred | (total < NEVER / 2), -torch.inf)

    def _best(self, total: Tensor, token: Tensor) -> Tensor:
        """The best of those that hold most of the phrases, then of those that hold less, then each one's second …"""
        held = self._after(self.progress[:, :, None].expand(-1, -1, token.shape[2], -1), token).sum(-1).flatten(1)
        total = total.flatten(1)
        order = total.sort(dim=1, descending=True, stable=True).indices
        held = held.gather(1, order)
        banks = one_hot(held, int(self.lengths.sum()) + 1)
        rank = (banks.cumsum(1) * banks).sum(-1)
        rank = rank.masked_fill(total.gather(1, order) == -torch.inf, total.shape[1] + 1)
        key = rank * (banks.shape[-1] + 1) - held
        best = key.sort(dim=1, stable=True).indices[:, : min(2 * self.beams, total.shape[1])]
        return order.gather(1, best)

    def _complete(self, source: Tensor, token: Tensor) -> Tensor:
        progress = self.progress.gather(1, source[..., None].expand(-1, -1, len(self.lengths)))
        if self.scoring.keeps_last_word():
            progress = self._after(progress, token)
        return (progress == self.lengths).all(-1)

    def select(self, texts: Tensor) -> None:
        """Go on with some of the texts only, by index (n,)."""
        super().select(texts)
        self.progress, self.ends_phrase = self.progress[texts], self.ends_phrase[texts]

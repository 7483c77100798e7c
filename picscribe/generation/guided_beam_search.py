"""Beam searches that are led: in groups that keep apart from each other, and to words that must be said.

Diverse beam search: Vijayakumar et al., 2018 (arXiv 1610.02424), with Hamming diversity. Required words: dynamic beam
allocation, Post and Vilar, 2018 (arXiv 1804.06609), which shares beams among texts that hold more and fewer of them.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from picscribe.generation.beam_search import NEVER, BeamSearch, BeamSettings
from picscribe.generation.chooser import NO_TOKEN, Candidates, Hypothesis


class GroupSearch(BeamSearch):
    """One group: a beam search that ranks a candidate lower by `penalty` for each beam that chose its token already."""

    penalty = 0.0
    taken: Tensor
    """Tokens (N, beams of earlier groups) of this step."""

    def _best(self, total: Tensor, token: Tensor) -> Tensor:
        times = (token[..., None] == self.taken[:, None, None]).sum(-1)
        return super()._best(total - self.penalty * times, token)


class DiverseBeams:
    """Chooser of N texts with G groups of K/G beams; scores are without the penalty, which only guides the search."""

    def __init__(self, groups: int, penalty: float, settings: BeamSettings, prompt_length: Tensor) -> None:
        """`groups` divides the beams; `prompt_length` (N,) counts [CLS]."""
        each = settings.beams // groups
        self.beams, self.num_captions = settings.beams, settings.num_captions
        # However many of the likeliest were chosen before, two a beam are left that were not.
        self.width = 2 * each + settings.beams
        of_group = replace(settings, beams=each, num_captions=min(each, settings.num_captions))
        self.groups = [GroupSearch(of_group, prompt_length) for _ in range(groups)]
        for group in self.groups:
            group.penalty = penalty

    @property
    def done(self) -> Tensor:
        """Texts (N,) of which every group is done."""
        return torch.stack([group.done for group in self.groups]).all(0)

    @done.setter
    def done(self, done: Tensor) -> None:
        for group in self.groups:
            group.done = done.clone()

    @property
    def tokens(self) -> Tensor:
        """New tokens so far (N, K, steps)."""
        return torch.cat([group.tokens for group in self.groups], dim=1)

    def wanted(self) -> Tensor | None:
        """No token is a candidate but the likeliest."""
        return None

    def choose(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Which beam each new beam continues from, and its next token, both (N, K)."""
        sources: list[Tensor] = []
        taken = candidates.token.new_zeros((len(candidates.token), 0))
        for number, group in enumerate(self.groups):
            first = number * group.beams
            rows = slice(first, first + group.beams)
            group.taken = taken
            source, token = group.choose(Candidates(candidates.token[:, rows], candidates.log_prob[:, rows]))
            sources.append(source + first)
            taken = torch.cat([taken, token], dim=1)
        return torch.cat(sources, dim=1), taken

    def select(self, texts: Tensor) -> None:
        """Go on with some of the texts only, by index (n,)."""
        for group in self.groups:
            group.select(texts)

    def hypotheses(self) -> list[list[Hypothesis]]:
        """The best of all groups for every text, best first, each text once."""
        results = []
        for of_groups in zip(*(group.hypotheses() for group in self.groups), strict=True):
            found = {hypothesis.tokens: hypothesis for of_group in of_groups for hypothesis in of_group}
            results.append(sorted(found.values(), key=lambda hypothesis: -hypothesis.score)[: self.num_captions])
        return results


class RequiredWordsSearch(BeamSearch):
    """Chooser of N texts with K beams each, of which only those end that hold every phrase."""

    def __init__(
        self,
        phrases: Sequence[Sequence[int]],
        word_pieces: Tensor,
        settings: BeamSettings,
        prompt_length: Tensor,
    ) -> None:
        """`phrases` are tokens, none empty; `word_pieces` (V,) is True for tokens that continue a word."""
        super().__init__(settings, prompt_length)
        beams, device = settings.beams, prompt_length.device
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
        """Which beam each new beam continues from, and its next token, both (N, K)."""
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
        """The best hypothesis with most of the phrases, then the best with fewer, then the second of each …"""
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

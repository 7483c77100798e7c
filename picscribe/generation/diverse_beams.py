"""Diverse beam search: groups of beams, each kept from the words that earlier groups chose at the same step.

Source: Vijayakumar et al., 2018 (arXiv 1610.02424), with Hamming diversity.
"""

import torch
from torch import Tensor

from picscribe.generation.beam_search import BeamSearch
from picscribe.generation.candidates import Candidates
from picscribe.generation.hypothesis import Hypothesis
from picscribe.generation.scoring import BeamScoring


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

    def __init__(
        self,
        groups: int,
        penalty: float,
        beams: int,
        num_captions: int,
        max_new_tokens: int,
        scoring: BeamScoring,
        sep_id: int,
        prompt_length: Tensor,
    ) -> None:
        """`groups` divides `beams`; `prompt_length` (N,) counts [CLS]."""
        each = beams // groups
        kept = min(each, num_captions)
        self.beams, self.num_captions = beams, num_captions
        # However many of the likeliest were chosen before, two a beam are left that were not.
        self.width = 2 * each + beams
        self.groups = [GroupSearch(each, kept, max_new_tokens, scoring, sep_id, prompt_length) for _ in range(groups)]
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
        """Which beam each new beam goes on from, and its next token, both (N, K)."""
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

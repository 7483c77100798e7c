"""Searches with independent lines: greedy takes the likeliest token each time, sampling draws one."""

import torch
from torch import Tensor

from picscribe.generation.chooser import ALL, Candidates, Hypothesis
from picscribe.generation.options import GenerationOptions


class GreedySearch:
    """Chooser of N texts with K lines of tokens each; a line ends at [SEP] or at the limit."""

    width = 1

    def __init__(self, max_new_tokens: int, sep_id: int, texts: int, device: torch.device, lines: int = 1) -> None:
        self.beams = lines
        self.max_new_tokens, self.sep_id = max_new_tokens, sep_id
        self.done = torch.zeros(texts, dtype=torch.bool, device=device)
        self.ended = torch.zeros((texts, lines), dtype=torch.bool, device=device)
        self.tokens = torch.zeros((texts, lines, 0), dtype=torch.long, device=device)
        self.log_probs = torch.zeros((texts, lines, 0), device=device)
        self.own = torch.arange(lines, device=device)

    def choose(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """The line each line continues from, its own, and its next token, both (N, K)."""
        taken = self._take(candidates.log_prob)[..., None]
        token, log_prob = (x.gather(2, taken)[..., 0] for x in (candidates.token, candidates.log_prob))
        token = torch.where(self.ended | self.done[:, None], self.sep_id, token)
        self.tokens = torch.cat([self.tokens, token[..., None]], dim=2)
        self.log_probs = torch.cat([self.log_probs, log_prob[..., None]], dim=2)
        self.ended |= (token == self.sep_id) | (self.tokens.shape[2] == self.max_new_tokens)
        self.done |= self.ended.all(1)
        return self.own.expand_as(token), token

    def _take(self, log_prob: Tensor) -> Tensor:
        """Which of the candidates (N, K, C), best first, each line takes: (N, K)."""
        return torch.zeros_like(log_prob[..., 0], dtype=torch.long)

    def wanted(self) -> Tensor | None:
        """No token is a candidate but the likeliest."""
        return None

    def select(self, texts: Tensor) -> None:
        """Go on with some of the texts only, by index (n,)."""
        self.done, self.ended = self.done[texts], self.ended[texts]
        self.tokens, self.log_probs = self.tokens[texts], self.log_probs[texts]

    def hypotheses(self) -> list[list[Hypothesis]]:
        """The hypothesis of every line of every text, best first; a score is a log-probability."""
        results = []
        for lines, log_probs in zip(self.tokens.tolist(), self.log_probs.tolist(), strict=True):
            found = [self._hypothesis(*line) for line in zip(lines, log_probs, strict=True)]
            results.append(sorted(found, key=lambda hypothesis: -hypothesis.score))
        return results

    def _hypothesis(self, tokens: list[int], log_probs: list[float]) -> Hypothesis:
        length = tokens.index(self.sep_id) if self.sep_id in tokens else len(tokens)
        counted = tuple(log_probs[: length + 1])
        return Hypothesis(tuple(tokens[:length]), counted, sum(counted))


class Sampling(GreedySearch):
    """Chooser of N texts with K samples each: tokens are drawn by their probability.

    A seed gives every image the same draws, one a sample and step, so that what an image gets depends on nothing that
    is in the same batch; `own_draws` gives each text its own. A draw is a place from 0 to 1 among the
    candidates' probabilities, cumulated (inverse transform sampling): likeliest first where only the
    likeliest may be drawn.
    """

    def __init__(
        self, options: GenerationOptions, sep_id: int, vocabulary_size: int, texts: int, device: torch.device
    ) -> None:
        """Of the options count `num_captions`, `max_new_tokens` and those of drawing."""
        super().__init__(options.max_new_tokens, sep_id, texts, device, options.num_captions)
        self.width = options.top_k or (vocabulary_size if options.top_p < 1 else ALL)
        self.temperature, self.top_p = options.temperature, options.top_p
        # On the CPU, so that a seed means the same on every device.
        shape = (options.max_new_tokens, texts if options.own_draws else 1, options.num_captions)
        self.draws = torch.rand(shape, generator=torch.Generator().manual_seed(options.seed)).to(device)

    def select(self, texts: Tensor) -> None:
        """Go on with some of the texts only, by index (n,)."""
        super().select(texts)
        if self.draws.shape[1] > 1:
            self.draws = self.draws[:, texts]

    def _take(self, log_prob: Tensor) -> Tensor:
        weight = (log_prob / self.temperature).softmax(-1)
        if self.top_p < 1:
            # Holtzman et al., 2020 (arXiv 1904.09751): the fewest tokens whose probabilities come to top_p.
            before = weight.cumsum(-1) - weight
            weight = weight.masked_fill(before >= self.top_p, 0)
        heaped = weight.cumsum(-1)
        draw = self.draws[self.tokens.shape[2]][..., None] * heaped[..., -1:]
        place = torch.searchsorted(heaped, draw, right=True)[..., 0]
        return place.clamp(max=log_prob.shape[-1] - 1)

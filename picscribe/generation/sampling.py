"""Sampling: each next token is drawn by its probability, shaped by temperature, top-k and nucleus."""

import torch
from torch import Tensor

from picscribe.generation.candidates import ALL
from picscribe.generation.greedy_search import GreedySearch


class Sampling(GreedySearch):
    """Chooser of N texts with K samples each.

    A seed gives every image the same draws, one a sample and step, so that what an image gets depends on nothing that
    stands in the batch beside it; `own_draws` gives each text its own. A draw is a place from 0 to 1 among the
    candidates' probabilities, one heaped on the other (inverse transform sampling): likeliest first where only the
    likeliest may be drawn.
    """

    def __init__(
        self,
        samples: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
        max_new_tokens: int,
        sep_id: int,
        vocabulary_size: int,
        texts: int,
        device: torch.device,
        own_draws: bool = False,
    ) -> None:
        """`top_k` 0 and `top_p` 1 leave all candidates."""
        super().__init__(max_new_tokens, sep_id, texts, device, samples)
        self.width = top_k or (vocabulary_size if top_p < 1 else ALL)
        self.temperature, self.top_p = temperature, top_p
        # On the CPU, so that a seed means the same on every device.
        shape = (max_new_tokens, texts if own_draws else 1, samples)
        self.draws = torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(device)

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

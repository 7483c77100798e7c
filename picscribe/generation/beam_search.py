"""Beam search over many texts at once, without a Python loop over texts or beams."""

import torch
from torch import Tensor

from picscribe.generation.candidates import Candidates
from picscribe.generation.hypothesis import Hypothesis
from picscribe.generation.scoring import BeamScoring

NEVER = -1e9
"""Starting score of all beams but the first: they hold the same prompt, and must not fill up with the same words."""


class BeamSearch:
    """Chooser of N texts with K beams each; open beams in `tokens`, ended hypotheses, best first, in `kept_*`."""

    def __init__(
        self,
        beams: int,
        num_captions: int,
        max_new_tokens: int,
        scoring: BeamScoring,
        sep_id: int,
        prompt_length: Tensor,
    ) -> None:
        """`prompt_length` (N,) counts [CLS]."""
        texts, device = len(prompt_length), prompt_length.device
        self.beams, self.num_captions, self.max_new_tokens = beams, num_captions, max_new_tokens
        self.scoring, self.sep_id = scoring, sep_id
        self.prompt_length = prompt_length
        self.step = 0
        self.width = 2 * beams
        self.done = torch.zeros(texts, dtype=torch.bool, device=device)
        self.total = torch.full((texts, beams), NEVER, device=device)
        self.total[:, 0] = 0
        self.tokens = torch.zeros((texts, beams, 0), dtype=torch.long, device=device)
        self.log_probs = torch.zeros((texts, beams, 0), device=device)
        kept = scoring.kept(beams, num_captions)
        self.kept_score = torch.full((texts, kept), -torch.inf, device=device)
        self.kept_length = torch.zeros((texts, kept), dtype=torch.long, device=device)
        # Room for one token more than asked: [SEP], or the word that is dropped at the original's limit.
        self.kept_tokens = torch.zeros((texts, kept, max_new_tokens + 1), dtype=torch.long, device=device)
        self.kept_log_probs = torch.zeros((texts, kept, max_new_tokens + 1), device=device)

    def choose(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Which beam each new beam goes on from, and its next token, both (N, K)."""
        total = self._allowed(self.total[..., None] + candidates.log_prob, candidates.token)
        place = self._best(total, candidates.token)
        total, token, token_log_prob = (
            x.flatten(1).gather(1, place) for x in (total, candidates.token, candidates.log_prob)
        )
        source = place // candidates.token.shape[2]
        self.done |= self.scoring.done_before(
            total.amax(1), self.kept_score[:, -1], self.prompt_length, self.max_new_tokens
        )

        at_limit = self.scoring.at_limit(self.step, self.max_new_tokens)
        ends = torch.ones_like(token, dtype=torch.bool) if at_limit else token == self.sep_id
        self._keep_ended(ends, total, source, token, token_log_prob)

        # The best K candidates that do not end; at the limit there are none, and the search is over.
        order = ends.to(torch.int8).sort(dim=1, stable=True).indices[:, : self.beams]
        source, token = source.gather(1, order), token.gather(1, order)
        self.total = total.gather(1, order)
        self.tokens = torch.cat([self._from(self.tokens, source), token[..., None]], dim=2)
        newest = token_log_prob.gather(1, order)[..., None]
        self.log_probs = torch.cat([self._from(self.log_probs, source), newest], dim=2)
        self.done |= at_limit | self.scoring.done_after(self.total.amax(1), self.kept_score[:, -1], self.step)
        self.step += 1
        return source, token

    def wanted(self) -> Tensor | None:
        """No token is a candidate but the likeliest."""
        return None

    def _allowed(self, total: Tensor, token: Tensor) -> Tensor:
        """Candidates' log-probabilities (N, K, C), minus infinity for those that may not be."""
        return total

    def _best(self, total: Tensor, token: Tensor) -> Tensor:
        """The places (N, 2K) of the best candidates, best first, among all K·C of each text, `total` (N, K, C)."""
        return total.flatten(1).topk(min(2 * self.beams, total[0].numel()), dim=1).indices

    def _complete(self, source: Tensor, token: Tensor) -> Tensor:
        """Which candidates (N, 2K) may end the text that they end."""
        return torch.ones_like(token, dtype=torch.bool)

    def _from(self, history: Tensor, source: Tensor) -> Tensor:
        return history.gather(1, source[..., None].expand(-1, -1, history.shape[2]))

    def _keep_ended(self, ends: Tensor, total: Tensor, source: Tensor, token: Tensor, token_log_prob: Tensor) -> None:
        """Merge this step's ended candidates into the kept hypotheses; on a tie the older stays."""
        counts = self.scoring.may_end(ends, source, self.beams) & ~self.done[:, None] & (total > NEVER / 2)
        counts &= self._complete(source, token)
        score = self.scoring.normalise(total, self.prompt_length, self.step).masked_fill(~counts, -torch.inf)
        written = (token != self.sep_id) & self.scoring.keeps_last_word()
        length = self.step + written.long()

        def with_token(history: Tensor, last: Tensor) -> Tensor:
            width = self.kept_tokens.shape[2] - self.step - 1
            grown = torch.cat([self._from(history, source), last[..., None]], dim=2)
            return torch.nn.functional.pad(grown, (0, width))

        order = torch.cat([self.kept_score, score], dim=1).sort(dim=1, descending=True, stable=True).indices
        order = order[:, : self.kept_score.shape[1]]
        self.kept_score = torch.cat([self.kept_score, score], dim=1).gather(1, order)
        self.kept_length = torch.cat([self.kept_length, length], dim=1).gather(1, order)
        ended_tokens, ended_log_probs = with_token(self.tokens, token), with_token(self.log_probs, token_log_prob)
        self.kept_tokens = self._from(torch.cat([self.kept_tokens, ended_tokens], dim=1), order)
        self.kept_log_probs = self._from(torch.cat([self.kept_log_probs, ended_log_probs], dim=1), order)

    def select(self, texts: Tensor) -> None:
        """Go on with some of the texts only, by index (n,)."""
        for name in ("prompt_length", "done", "total", "tokens", "log_probs"):
            setattr(self, name, getattr(self, name)[texts])
        for name in ("kept_score", "kept_length", "kept_tokens", "kept_log_probs"):
            setattr(self, name, getattr(self, name)[texts])

    def hypotheses(self) -> list[list[Hypothesis]]:
        """The best ended hypotheses of every text, best first."""
        results = []
        for scores, lengths, tokens, log_probs in zip(
            self.kept_score.tolist(),
            self.kept_length.tolist(),
            self.kept_tokens.tolist(),
            self.kept_log_probs.tolist(),
            strict=True,
        ):
            best = []
            for rank in range(min(self.num_captions, len(scores))):
                if scores[rank] == -torch.inf:
                    break
                length = lengths[rank]
                ended = tokens[rank][length] == self.sep_id and length < len(tokens[rank])
                best.append(
                    Hypothesis(tuple(tokens[rank][:length]), tuple(log_probs[rank][: length + ended]), scores[rank])
                )
            results.append(best)
        return results

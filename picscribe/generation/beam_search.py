"""Beam search over many texts at once, without a Python loop over texts or beams.

How what has ended is ranked, and when a search stops, are rules of their own: the original code's and transformers'.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from picscribe.generation.chooser import Candidates, Hypothesis

NEVER = -1e9
"""Starting score of all beams but the first: they hold the same prompt, and must not fill up with the same words."""


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


@dataclass(frozen=True)
class BeamSettings:
    """Settings of every beam search: how many beams, how many of them are returned, how long, and by which rules."""

    beams: int
    num_captions: int
    max_new_tokens: int
    scoring: BeamScoring
    sep_id: int


class BeamSearch:
    """Chooser of N texts with K beams each; open beams in `tokens`, ended hypotheses, best first, in `kept_*`."""

    def __init__(self, settings: BeamSettings, prompt_length: Tensor) -> None:
        """`prompt_length` (N,) counts [CLS]."""
        texts, beams, device = len(prompt_length), settings.beams, prompt_length.device
        self.beams, self.num_captions, self.max_new_tokens = beams, settings.num_captions, settings.max_new_tokens
        self.scoring, self.sep_id = settings.scoring, settings.sep_id
        self.prompt_length = prompt_length
        self.step = 0
        self.width = 2 * beams
        self.done = torch.zeros(texts, dtype=torch.bool, device=device)
        self.total = torch.full((texts, beams), NEVER, device=device)
        self.total[:, 0] = 0
        self.tokens = torch.zeros((texts, beams, 0), dtype=torch.long, device=device)
        self.log_probs = torch.zeros((texts, beams, 0), device=device)
        kept = self.scoring.kept(beams, self.num_captions)
        self.kept_score = torch.full((texts, kept), -torch.inf, device=device)
        self.kept_length = torch.zeros((texts, kept), dtype=torch.long, device=device)
        # Room for one token more than asked: [SEP], or the word that is dropped at the original's limit.
        self.kept_tokens = torch.zeros((texts, kept, self.max_new_tokens + 1), dtype=torch.long, device=device)
        self.kept_log_probs = torch.zeros((texts, kept, self.max_new_tokens + 1), device=device)

    def choose(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Which beam each new beam continues from, and its next token, both (N, K)."""
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

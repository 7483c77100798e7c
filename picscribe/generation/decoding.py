"""The one loop: decode a step, filter, choose, move the cache; images that have finished leave the batch."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from picscribe.acceleration.steps import step_for
from picscribe.errors import CheckpointError, ConfigurationError, InputError
from picscribe.generation.candidates import Candidates, likeliest
from picscribe.generation.constraints import NO_TOKEN, Filter
from picscribe.generation.hypothesis import Hypothesis
from picscribe.model import Git, ImagePrefix, TextCache
from picscribe.model.attention import PADDING_POSITION

Prompts = Sequence[Sequence[Sequence[int]]]
"""For each image its prompts, as many for each; a prompt is token ids that begin with [CLS]."""


class Chooser(Protocol):
    """Picks each step's tokens for N texts with `beams` lines each, and remembers what has ended."""

    beams: int
    width: int
    """Candidates that it wants of each line, or `candidates.ALL`."""
    done: Tensor

    @property
    def tokens(self) -> Tensor:
        """New tokens so far (N, K, steps)."""

    def wanted(self) -> Tensor | None:
        """Tokens (N, K, W) that are candidates however unlikely; NO_TOKEN for none."""

    def choose(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Which line each line goes on from, and its next token, both (N, K)."""

    def select(self, texts: Tensor) -> None:
        """Go on with some of the texts only, by index (n,)."""

    def hypotheses(self) -> list[list[Hypothesis]]:
        """What was found for every text, best first."""


@torch.inference_mode()
def decode(
    model: Git,
    prefix: ImagePrefix,
    prompts: Prompts,
    chooser: Chooser,
    filters: Sequence[Filter],
    max_new_tokens: int,
    penalties: Sequence[Filter] = (),
) -> list[list[Hypothesis]]:
    """Run `chooser` until every text is done: hypotheses for every prompt, image by image."""
    results: list[list[Hypothesis]] = [[] for of_image in prompts for _ in of_image]
    for _ in decode_steps(model, prefix, prompts, chooser, filters, max_new_tokens, penalties, results):
        pass
    return results


@torch.inference_mode()
def decode_steps(
    model: Git,
    prefix: ImagePrefix,
    prompts: Prompts,
    chooser: Chooser,
    filters: Sequence[Filter],
    max_new_tokens: int,
    penalties: Sequence[Filter],
    results: list[list[Hypothesis]],
) -> Iterator[None]:
    """`decode`, stopping after every token that the chooser took; what has ended is written into `results`."""
    _check_prompts(model, prefix, prompts, max_new_tokens)
    tokens, position, lengths = pad_prompts(prompts, prefix.keys[0].device)
    (images, texts, longest), beams = tokens.shape, chooser.beams
    # Left-padded history of each beam with its prompt, for filters that look back.
    history = torch.full((images, texts, longest), NO_TOKEN, device=tokens.device)
    history[torch.arange(longest, device=tokens.device) >= longest - lengths[..., None]] = tokens[
        position != PADDING_POSITION
    ]
    cache = TextCache(prefix, texts, room_for(texts, longest, beams, max_new_tokens))
    hidden = model.decode_next(tokens, cache, position)
    hidden = hidden.gather(2, (lengths - 1)[..., None, None].expand(-1, -1, 1, hidden.shape[-1]))[:, :, 0]
    cache.reorder(torch.arange(texts, device=tokens.device).repeat_interleave(beams).expand(images, -1))
    logits = model.logits(hidden).float().repeat_interleave(beams, dim=1)
    next_position = lengths.repeat_interleave(beams, dim=1)

    step = None
    alive = torch.arange(images, device=tokens.device)
    first_text = torch.arange(texts, device=tokens.device)[:, None] * beams
    while True:
        prompt = history.view(-1, 1, longest).expand(-1, beams, -1)
        logits = logits.view(len(alive) * texts, beams, -1)
        sep_id = model.config.text_decoder.sep_id
        found = likeliest(logits, chooser.width, filters, prompt, chooser.tokens, sep_id, penalties, chooser.wanted())
        check_finite(model, found.log_prob.amax(-1))
        source, token = chooser.choose(found)
        yield

        image_done = chooser.done.view(len(alive), texts).all(1)
        finished = int(image_done.sum())
        if finished == len(alive):
            break
        step = step or step_for(model, cache, reorders=beams > 1)
        # Fewer images make each step cheaper, but moving them costs too: wait until half have finished.
        if step.shrinks and 2 * finished >= len(alive):
            _collect(results, chooser, alive, image_done, texts)
            keep = (~image_done).nonzero()[:, 0]
            rows = (keep[:, None] * texts + torch.arange(texts, device=keep.device)).flatten()
            chooser.select(rows)
            step.keep(keep)
            source, token = source[rows], token[rows]
            alive, history, next_position = alive[keep], history[keep], next_position[keep]
        source = (source.view(len(alive), texts, beams) + first_text).flatten(1)
        logits = step(source if beams > 1 else None, token.view(len(alive), texts * beams), next_position)
        next_position = next_position + 1
    _collect(results, chooser, alive, torch.ones_like(image_done), texts)
    if step is not None:
        step.finish()


def check_finite(model: Git, values: Tensor) -> None:
    """Raise CheckpointError unless all `values`, which the network computed, are finite."""
    if values.isfinite().all():
        return
    dtype = model.projection_norm.weight.dtype
    name = str(dtype).removeprefix("torch.")
    remedy = (
        "its weights are damaged or far too large: get the checkpoint again, or train it with a lower learning rate"
        if dtype == torch.float32
        else "this checkpoint needs larger numbers than that holds: load it with dtype float32"
    )
    raise CheckpointError(f"the network computed numbers that are not finite, in {name}: {remedy}")


def room_for(prompts: int, longest: int, beams: int, max_new_tokens: int) -> int:
    """Text slots of a search over an image: its prompts, each padded to the longest, and one a beam and step."""
    return prompts * (longest + beams * max_new_tokens)


def pad_prompts(prompts: Prompts, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Prompts as tensors: tokens (B, P, T) padded at the end, positions (B, P, T), and lengths (B, P)."""
    lengths = torch.tensor([[len(prompt) for prompt in of_image] for of_image in prompts], device=device)
    longest = int(lengths.max())
    tokens = torch.tensor(
        [[[*prompt, *[0] * (longest - len(prompt))] for prompt in of_image] for of_image in prompts], device=device
    )
    position = torch.arange(longest, device=device).expand_as(tokens)
    return tokens, torch.where(position < lengths[..., None], position, PADDING_POSITION), lengths


def _check_prompts(model: Git, prefix: ImagePrefix, prompts: Prompts, max_new_tokens: int) -> None:
    if len(prompts) != len(prefix) or not prompts:
        raise InputError(f"{len(prefix)} images but prompts for {len(prompts)}")
    counts = {len(of_image) for of_image in prompts}
    if len(counts) != 1 or 0 in counts:
        raise InputError(f"every image needs the same number of prompts, at least one, not {sorted(counts)}")
    longest = max(len(prompt) for of_image in prompts for prompt in of_image)
    if min(len(prompt) for of_image in prompts for prompt in of_image) < 1:
        raise InputError("a prompt must hold at least [CLS]")
    positions, words = model.config.text_decoder.max_positions, model.config.text_decoder.vocabulary_size
    for token in (token for of_image in prompts for prompt in of_image for token in prompt):
        if not 0 <= token < words:
            raise InputError(f"a prompt holds token {token}, but the model has a vocabulary of {words} words")
    if longest + max_new_tokens > positions:
        raise ConfigurationError(
            f"a prompt of {longest} tokens and {max_new_tokens} new ones are more than the model's {positions} "
            "positions: ask for fewer new tokens"
        )


def _collect(results: list[list[Hypothesis]], chooser: Chooser, alive: Tensor, finished: Tensor, texts: int) -> None:
    """Write the hypotheses of the finished images where their prompts stand in the whole batch."""
    hypotheses = chooser.hypotheses()
    for row, (image, is_finished) in enumerate(zip(alive.tolist(), finished.tolist(), strict=True)):
        if is_finished:
            results[image * texts : (image + 1) * texts] = hypotheses[row * texts : (row + 1) * texts]

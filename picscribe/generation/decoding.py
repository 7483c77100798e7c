"""The one loop: decode a step, filter, choose, move the cache; images that have finished leave the batch."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from picscribe.errors import ConfigurationError, InputError
from picscribe.generation.beam_search import BeamSearch
from picscribe.generation.candidates import Candidates, likeliest
from picscribe.generation.constraints import NO_TOKEN, Filter, build_filters
from picscribe.generation.greedy_search import GreedySearch
from picscribe.generation.hypothesis import Hypothesis
from picscribe.generation.options import GenerationOptions
from picscribe.generation.scoring import GitScoring, TransformersScoring
from picscribe.model import Git, ImagePrefix, TextCache
from picscribe.model.attention import PADDING_POSITION

Prompts = Sequence[Sequence[Sequence[int]]]
"""For each image its prompts, as many for each; a prompt is token ids that begin with [CLS]."""


class Chooser(Protocol):
    """Picks each step's tokens for N texts with `beams` lines each, and remembers what has ended."""

    beams: int
    done: Tensor
    tokens: Tensor

    def choose(self, candidates: Candidates) -> tuple[Tensor, Tensor]: ...

    def select(self, texts: Tensor) -> None: ...

    def hypotheses(self) -> list[list[Hypothesis]]: ...


def generate(
    model: Git,
    prefix: ImagePrefix,
    prompts: Prompts,
    options: GenerationOptions,
    never_written: Sequence[int] = (),
    banned_sequences: Sequence[Sequence[int]] = (),
) -> list[list[list[Hypothesis]]]:
    """Texts for every prompt of every image: for image, prompt and rank, the hypotheses best first.

    `never_written` are the tokens that `options.special_tokens` allows, `banned_sequences` what its banned words are
    written with; where all these rules leave no token, the text ends, be it shorter than `min_new_tokens`.
    Raises ConfigurationError where prompt and caption would be longer than the positions that the model knows.
    """
    decoder = model.config.text_decoder
    if options.beams > decoder.vocabulary_size:
        raise ConfigurationError(f"{options.beams} beams, but the vocabulary has only {decoder.vocabulary_size} words")
    lengths = torch.tensor([len(prompt) for of_image in prompts for prompt in of_image], device=prefix.keys[0].device)
    if options.beams == 1:
        chooser: Chooser = GreedySearch(options.max_new_tokens, decoder.sep_id, len(lengths), lengths.device)
    else:
        scoring = (GitScoring if options.scoring == "git" else TransformersScoring)(options.length_penalty)
        chooser = BeamSearch(
            options.beams, options.num_captions, options.max_new_tokens, scoring, decoder.sep_id, lengths
        )
    filters = build_filters(options, decoder.sep_id, never_written, banned_sequences)
    flat = decode(model, prefix, prompts, chooser, filters, options.max_new_tokens)
    texts = len(prompts[0])
    return [flat[start : start + texts] for start in range(0, len(flat), texts)]


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


@torch.inference_mode()
def decode(
    model: Git, prefix: ImagePrefix, prompts: Prompts, chooser: Chooser, filters: Sequence[Filter], max_new_tokens: int
) -> list[list[Hypothesis]]:
    """Run `chooser` until every text is done: hypotheses for every prompt, image by image."""
    _check_prompts(model, prefix, prompts, max_new_tokens)
    tokens, position, lengths = pad_prompts(prompts, prefix.keys[0].device)
    (images, texts, longest), beams = tokens.shape, chooser.beams
    # Left-padded history of each beam with its prompt, for filters that look back.
    history = torch.full((images, texts, longest), NO_TOKEN, device=tokens.device)
    history[torch.arange(longest, device=tokens.device) >= longest - lengths[..., None]] = tokens[
        position != PADDING_POSITION
    ]
    cache = TextCache(prefix, texts, room_for(texts, longest, beams, max_new_tokens))
    hidden = model.decode(tokens, cache.prefix, cache, position)
    hidden = hidden.gather(2, (lengths - 1)[..., None, None].expand(-1, -1, 1, hidden.shape[-1]))[:, :, 0]
    cache.reorder(torch.arange(texts, device=tokens.device).repeat_interleave(beams).expand(images, -1))
    hidden = hidden.repeat_interleave(beams, dim=1)
    next_position = lengths.repeat_interleave(beams, dim=1)

    results: list[list[Hypothesis]] = [[] for _ in range(images * texts)]
    alive = torch.arange(images, device=tokens.device)
    first_text = torch.arange(texts, device=tokens.device)[:, None] * beams
    while True:
        logits = model.logits(hidden).float().view(len(alive) * texts, beams, -1)
        prompt = history.view(-1, 1, longest).expand(-1, beams, -1)
        count = 2 * beams if beams > 1 else 1
        found = likeliest(logits, count, filters, prompt, chooser.tokens, model.config.text_decoder.sep_id)
        source, token = chooser.choose(found)

        image_done = chooser.done.view(len(alive), texts).all(1)
        if image_done.all():
            break
        # Fewer images make each step cheaper, but moving them costs too: wait until half have finished.
        if 2 * int(image_done.sum()) >= len(alive):
            _collect(results, chooser, alive, image_done, texts)
            keep = (~image_done).nonzero()[:, 0]
            rows = (keep[:, None] * texts + torch.arange(texts, device=keep.device)).flatten()
            chooser.select(rows)
            cache.keep(keep)
            source, token = source[rows], token[rows]
            alive, history, next_position = alive[keep], history[keep], next_position[keep]
        source = (source.view(len(alive), texts, beams) + first_text).flatten(1)
        if beams > 1:
            cache.reorder(source)
        token = token.view(len(alive), texts * beams, 1)
        hidden = model.decode(token, cache.prefix, cache, next_position[..., None])[:, :, 0]
        next_position = next_position + 1
    _collect(results, chooser, alive, torch.ones_like(image_done), texts)
    return results


def _collect(results: list[list[Hypothesis]], chooser: Chooser, alive: Tensor, finished: Tensor, texts: int) -> None:
    """Write the hypotheses of the finished images where their prompts stand in the whole batch."""
    hypotheses = chooser.hypotheses()
    for row, (image, is_finished) in enumerate(zip(alive.tolist(), finished.tolist(), strict=True)):
        if is_finished:
            results[image * texts : (image + 1) * texts] = hypotheses[row * texts : (row + 1) * texts]

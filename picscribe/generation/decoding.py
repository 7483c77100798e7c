"""From options to texts: the search that they ask for, and the one loop around it.

The loop decodes a step, filters, lets the search choose, and moves the cache; finished images leave the batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from picscribe.acceleration.steps import fixed_step
from picscribe.errors import CheckpointError, ConfigurationError, InputError
from picscribe.generation.beam_search import BeamSearch, BeamSettings, GitScoring, TransformersScoring
from picscribe.generation.chooser import NO_TOKEN, Chooser, Hypothesis
from picscribe.generation.constraints import Filter, build_filters, likeliest, penalise_repetition
from picscribe.generation.greedy_search import GreedySearch, Sampling
from picscribe.generation.guided_beam_search import DiverseBeams, RequiredWordsSearch
from picscribe.generation.options import GenerationOptions
from picscribe.model import Git, ImagePrefix, TextCache
from picscribe.model.attention import PADDING_POSITION
from picscribe.model.config import TextDecoderConfig

Prompts = Sequence[Sequence[Sequence[int]]]
"""For each image its prompts, as many for each; a prompt is token ids that begin with [CLS]."""


@dataclass(frozen=True)
class LexicalConstraints:
    """What options say in words, in a vocabulary's tokens.

    never_written: tokens that only `special_tokens` allows. banned: what the banned words are written with. required:
    the required ones. word_pieces (V,): True for tokens that continue a word; needed where words are required.
    """

    never_written: Sequence[int] = ()
    banned: Sequence[Sequence[int]] = ()
    required: Sequence[Sequence[int]] = ()
    word_pieces: Tensor | None = None


def generate(
    model: Git,
    prefix: ImagePrefix,
    prompts: Prompts,
    options: GenerationOptions,
    words: LexicalConstraints = LexicalConstraints(),
) -> list[list[list[Hypothesis]]]:
    """Texts for every prompt of every image: for image, prompt and rank, the hypotheses best first.

    Images may have different numbers of prompts. Where the rules leave no token, the text ends, be it shorter than
    `min_new_tokens`. Raises ConfigurationError where prompt and caption would be longer than the positions that the
    model knows, InputError for prompts that cannot be.
    """
    if not prompts or not all(prompts):
        raise InputError(f"every image needs at least one prompt, not {[len(of_image) for of_image in prompts]}")
    config = model.config.text_decoder
    most = max(map(len, prompts))
    # Prompts that stand in for missing ones are done from the start.
    even = [[*of_image, *[[config.cls_id]] * (most - len(of_image))] for of_image in prompts]
    present = torch.tensor([index < len(of_image) for of_image in prompts for index in range(most)])
    lengths = torch.tensor([len(prompt) for of_image in even for prompt in of_image])
    device = prefix.keys[0].device
    chooser = build_chooser(config, options, words, lengths.to(device))
    chooser.done = ~present.to(device)
    filters = build_filters(options, config.sep_id, words.never_written, words.banned)
    penalties = [penalise_repetition(options.repetition_penalty)] if options.repetition_penalty != 1 else []
    flat = decode(model, prefix, even, chooser, filters, options.max_new_tokens, penalties)
    return [flat[number * most :][: len(of_image)] for number, of_image in enumerate(prompts)]


def stream(
    model: Git,
    prefix: ImagePrefix,
    prompt: Sequence[int],
    options: GenerationOptions,
    words: LexicalConstraints = LexicalConstraints(),
) -> Iterator[int]:
    """The tokens of one text about one image as they are chosen, without [SEP].

    Raises ConfigurationError for a beam search, in which a word is not chosen before the last.
    """
    if options.lines != 1:
        raise ConfigurationError(
            "words can be streamed with beams=1 or one sample only: a beam search may change them later"
        )
    config = model.config.text_decoder
    chooser = build_chooser(config, options, words, torch.tensor([len(prompt)], device=prefix.keys[0].device))
    filters = build_filters(options, config.sep_id, words.never_written, words.banned)
    penalties = [penalise_repetition(options.repetition_penalty)] if options.repetition_penalty != 1 else []
    steps = decode_steps(model, prefix, [[prompt]], chooser, filters, options.max_new_tokens, penalties, [[]])
    for _ in steps:
        token = int(chooser.tokens[0, 0, -1])
        if token != config.sep_id:
            yield token


def build_chooser(
    config: TextDecoderConfig, options: GenerationOptions, words: LexicalConstraints, prompt_length: Tensor
) -> Chooser:
    """The chooser that `options` ask for, of N texts; `prompt_length` (N,) counts [CLS]."""
    texts, device, limit, sep_id = len(prompt_length), prompt_length.device, options.max_new_tokens, config.sep_id
    if options.beams > config.vocabulary_size and not options.temperature:
        raise ConfigurationError(
            f"{options.beams} beams, but the vocabulary has only {config.vocabulary_size} words: lower beams"
        )
    if options.temperature:
        return Sampling(options, sep_id, config.vocabulary_size, texts, device)
    if options.beams == 1:
        return GreedySearch(limit, sep_id, texts, device)
    scoring = (GitScoring if options.scoring == "git" else TransformersScoring)(options.length_penalty)
    settings = BeamSettings(options.beams, options.num_captions, limit, scoring, sep_id)
    if options.beam_groups > 1:
        return DiverseBeams(options.beam_groups, options.diversity_penalty, settings, prompt_length)
    if words.required:
        if sum(map(len, words.required)) > limit or not all(words.required):
            raise ConfigurationError(
                f"the required words take {sum(map(len, words.required))} tokens, each at least one, of at most"
                f" {limit}: allow more new tokens, or require words that the tokenizer knows"
            )
        assert words.word_pieces is not None
        return RequiredWordsSearch(words.required, words.word_pieces, settings, prompt_length)
    return BeamSearch(settings, prompt_length)


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


class Step(Protocol):
    """Decodes the newest token of P texts per image."""

    shrinks: bool
    """Whether images can leave."""

    def __call__(self, source: Tensor | None, token: Tensor, position: Tensor) -> Tensor:
        """Logits (B, P, V) after `token` at `position`, both (B, P), as text p continues text `source[b, p]`."""

    def keep(self, images: Tensor) -> None:
        """Go on with some of the images only, by index (n,)."""

    def finish(self) -> None:
        """No more steps will come."""


class GrowingStep:
    """Attention reads the texts so far and no more: the least work."""

    shrinks = True

    def __init__(self, model: Git, cache: TextCache) -> None:
        self.model, self.cache = model, cache

    def __call__(self, source: Tensor | None, token: Tensor, position: Tensor) -> Tensor:
        if source is not None:
            self.cache.reorder(source)
        return self.model.next_logits(token, self.cache, position)

    def keep(self, images: Tensor) -> None:
        self.cache.keep(images)

    def finish(self) -> None:
        """Nothing to be done."""


def step_for(model: Git, cache: TextCache, reorders: bool) -> Step:
    """A step on from `cache`: on a GPU of one shape, elsewhere growing. `reorders`: texts continue from one another."""
    return fixed_step(model, cache, reorders) if cache.visible.device.type == "cuda" else GrowingStep(model, cache)


def check_finite(model: Git, values: Tensor) -> None:
    """Raise CheckpointError unless all `values`, which the network computed, are finite."""
    if values.isfinite().all():
        return
    dtype = model.projection_norm.weight.dtype
    name = str(dtype).removeprefix("torch.")
    remedy = (
        "its weights are damaged or too large: download the checkpoint again, or train it with a lower learning rate"
        if dtype == torch.float32
        else "this checkpoint needs larger numbers: load it with dtype float32"
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
        raise InputError("a prompt must have at least [CLS]")
    positions, words = model.config.text_decoder.max_positions, model.config.text_decoder.vocabulary_size
    for token in (token for of_image in prompts for prompt in of_image for token in prompt):
        if not 0 <= token < words:
            raise InputError(f"a prompt has the token {token}, but the model has a vocabulary of {words} words")
    if longest + max_new_tokens > positions:
        raise ConfigurationError(
            f"a prompt of {longest} tokens and {max_new_tokens} new tokens do not fit into the model's {positions} "
            "positions: lower max_new_tokens"
        )


def _collect(results: list[list[Hypothesis]], chooser: Chooser, alive: Tensor, finished: Tensor, texts: int) -> None:
    """Write the hypotheses of the finished images to the places of their prompts in the whole batch."""
    hypotheses = chooser.hypotheses()
    for row, (image, is_finished) in enumerate(zip(alive.tolist(), finished.tolist(), strict=True)):
        if is_finished:
            results[image * texts : (image + 1) * texts] = hypotheses[row * texts : (row + 1) * texts]

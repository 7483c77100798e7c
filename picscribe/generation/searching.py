"""From options to texts: the chooser and the filters that options ask for, and the search that they make."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from picscribe.errors import ConfigurationError, InputError
from picscribe.generation.beam_search import BeamSearch
from picscribe.generation.constraints import build_filters, penalise_repetition
from picscribe.generation.decoding import Chooser, Prompts, decode, decode_steps
from picscribe.generation.diverse_beams import DiverseBeams
from picscribe.generation.greedy_search import GreedySearch
from picscribe.generation.hypothesis import Hypothesis
from picscribe.generation.options import GenerationOptions
from picscribe.generation.required_words import RequiredWordsSearch
from picscribe.generation.sampling import Sampling
from picscribe.generation.scoring import GitScoring, TransformersScoring
from picscribe.model import Git, ImagePrefix
from picscribe.model.config import TextDecoderConfig


@dataclass(frozen=True)
class Wording:
    """What options say in words, in a vocabulary's tokens.

    never_written: tokens that only `special_tokens` allows. banned: what the banned words are written with. required:
    the required ones. word_pieces (V,): True for tokens that go on within a word; needed where words are required.
    """

    never_written: Sequence[int] = ()
    banned: Sequence[Sequence[int]] = ()
    required: Sequence[Sequence[int]] = ()
    word_pieces: Tensor | None = None


def generate(
    model: Git, prefix: ImagePrefix, prompts: Prompts, options: GenerationOptions, wording: Wording = Wording()
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
    chooser = build_chooser(config, options, wording, lengths.to(device))
    chooser.done = ~present.to(device)
    filters = build_filters(options, config.sep_id, wording.never_written, wording.banned)
    penalties = [penalise_repetition(options.repetition_penalty)] if options.repetition_penalty != 1 else []
    flat = decode(model, prefix, even, chooser, filters, options.max_new_tokens, penalties)
    return [flat[number * most :][: len(of_image)] for number, of_image in enumerate(prompts)]


def stream(
    model: Git, prefix: ImagePrefix, prompt: Sequence[int], options: GenerationOptions, wording: Wording = Wording()
) -> Iterator[int]:
    """The tokens of one text about one image as they are chosen, without [SEP].

    Raises ConfigurationError for a beam search, in which a word is not chosen before the last.
    """
    if options.lines != 1:
        raise ConfigurationError("words come one by one only from beams=1 or one sample: a beam search may change them")
    config = model.config.text_decoder
    chooser = build_chooser(config, options, wording, torch.tensor([len(prompt)], device=prefix.keys[0].device))
    filters = build_filters(options, config.sep_id, wording.never_written, wording.banned)
    penalties = [penalise_repetition(options.repetition_penalty)] if options.repetition_penalty != 1 else []
    steps = decode_steps(model, prefix, [[prompt]], chooser, filters, options.max_new_tokens, penalties, [[]])
    for _ in steps:
        token = int(chooser.tokens[0, 0, -1])
        if token != config.sep_id:
            yield token


def build_chooser(
    config: TextDecoderConfig, options: GenerationOptions, wording: Wording, prompt_length: Tensor
) -> Chooser:
    """The chooser that `options` ask for, of N texts; `prompt_length` (N,) counts [CLS]."""
    texts, device, limit, sep_id = len(prompt_length), prompt_length.device, options.max_new_tokens, config.sep_id
    if options.beams > config.vocabulary_size and not options.temperature:
        raise ConfigurationError(f"{options.beams} beams, but the vocabulary has only {config.vocabulary_size} words")
    if options.temperature:
        drawn = (options.lines, options.temperature, options.top_k, options.top_p, options.seed)
        return Sampling(*drawn, limit, sep_id, config.vocabulary_size, texts, device, options.own_draws)
    if options.beams == 1:
        return GreedySearch(limit, sep_id, texts, device)
    scoring = (GitScoring if options.scoring == "git" else TransformersScoring)(options.length_penalty)
    search = (options.beams, options.num_captions, limit, scoring, sep_id, prompt_length)
    if options.beam_groups > 1:
        return DiverseBeams(options.beam_groups, options.diversity_penalty, *search)
    if wording.required:
        if sum(map(len, wording.required)) > limit or not all(wording.required):
            raise ConfigurationError(
                f"the required words take {sum(map(len, wording.required))} tokens, each at least one, of at most"
                f" {limit}: allow more new tokens, or require words that the tokenizer knows"
            )
        assert wording.word_pieces is not None
        return RequiredWordsSearch(wording.required, wording.word_pieces, *search)
    return BeamSearch(*search)

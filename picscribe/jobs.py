"""The network's part of every job: pixels of images of one shape in, captions, classes and scores out."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from picscribe.checkpoints.checkpoint import Checkpoint
from picscribe.errors import ConfigurationError, InputError, PicscribeError
from picscribe.generation import GenerationOptions, Hypothesis, Wording, generate, stream
from picscribe.generation.decoding import decode, room_for
from picscribe.generation.explanation import Method, explain
from picscribe.generation.greedy_search import GreedySearch
from picscribe.generation.label_trie import LabelTrie, continue_labels
from picscribe.generation.likelihood import rank_labels, score_texts
from picscribe.model import ImagePrefix
from picscribe.results import Caption, Classification, RankedLabel, TextScore
from picscribe.text.labels import Labels
from picscribe.text.prompts import prompt_ids
from picscribe.text.vocabulary import CONTINUATION

QUESTIONS = 16
"""Questions of an image answered at a time."""


OPEN = 0.001
"""Share of the labels' probability that classification may leave uncomputed."""


class Jobs:
    """What a checkpoint does with pixels (B, 3, height, width), or of videos (B, F, 3, height, width)."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.model, self.tokenizer = checkpoint.model, checkpoint.tokenizer

    @torch.inference_mode()
    def caption(
        self, pixels: torch.Tensor, prompts: Sequence[Sequence[Sequence[int]]], options: GenerationOptions
    ) -> list[list[Caption] | PicscribeError]:
        """What comes after each of the prompts of images of one shape, `pixels` (B, …)."""
        most, longest = max(map(len, prompts)), max(len(prompt) for of_image in prompts for prompt in of_image)
        room = room_for(min(QUESTIONS, most), longest, options.lines, options.max_new_tokens)
        prefix = self.model.encode(self._on_device(pixels), room)
        found: list[list[list[Hypothesis]]] = [[] for _ in prompts]
        for start in range(0, most, QUESTIONS):
            some = {place: p[start : start + QUESTIONS] for place, p in enumerate(prompts) if p[start:]}
            images = torch.tensor(list(some), device=prefix.keys[0].device)
            chosen = prefix if len(some) == len(prompts) else prefix.select(images)
            answered = generate(self.model, chosen, list(some.values()), options, self._wording(options))
            for place, of_image in zip(some, answered, strict=True):
                found[place] += of_image
        return [self._captions_of(*pair) for pair in zip(found, prompts, strict=True)]

    def _captions_of(
        self, found: Sequence[Sequence[Hypothesis]], prompts: Sequence[Sequence[int]]
    ) -> list[Caption] | PicscribeError:
        try:
            return [self._caption_of(*pair) for pair in zip(found, prompts, strict=True)]
        except PicscribeError as error:
            return error

    def explain(
        self, pixels: torch.Tensor, prompt: Sequence[int], caption: Caption, method: Method
    ) -> tuple[tuple[str, ...], torch.Tensor]:
        """The words of a caption of one image or video, and for each its map, (words, F, rows, columns)."""
        maps = explain(self.model, pixels, prompt, caption.tokens, method).cpu()
        words, joined = list[str](), list[list[torch.Tensor]]()
        for token, of_token in zip(caption.tokens, maps, strict=True):
            if joined and self.tokenizer.word_pieces[token]:
                words[-1] += self.tokenizer.vocabulary[token].removeprefix(CONTINUATION)
                joined[-1].append(of_token)
            else:
                words.append(self.tokenizer.vocabulary[token].removeprefix(CONTINUATION))
                joined.append([of_token])
        return tuple(words), torch.stack([torch.stack(parts).mean(0) for parts in joined])

    @torch.inference_mode()
    def classify(
        self, pixels: torch.Tensor, prompts: Sequence[Sequence[int]], labels: Labels, trie: LabelTrie, top_k: int
    ) -> list[Classification]:
        """The classes of images of one shape; greedy where `top_k` is 0."""
        prefix = self.model.encode(self._on_device(pixels), room_for(1, max(map(len, prompts)), 1, trie.longest))
        if top_k:
            found = rank_labels(self.model, prefix, prompts, trie, top_k, OPEN)
            columns = (found.label.tolist(), found.log_likelihood.tolist(), found.probability().tolist())
            rows: Iterable[Any] = zip(*columns, strict=True)
        else:
            rows = self._classify_greedily(prefix, prompts, labels, trie)
        return [
            Classification(tuple(RankedLabel(labels.names[x], value, p) for x, value, p in zip(*row, strict=True)))
            for row in rows
        ]

    def _classify_greedily(
        self, prefix: ImagePrefix, prompts: Sequence[Sequence[int]], labels: Labels, trie: LabelTrie
    ) -> Iterator[Any]:
        """For each image the number of its label, the log-likelihood, and no probability, a list each."""
        device = prefix.keys[0].device
        chooser = GreedySearch(trie.longest, self.tokenizer.sep_id, len(prompts), device)
        found = decode(self.model, prefix, [[p] for p in prompts], chooser, [continue_labels(trie)], trie.longest)
        for (hypothesis,) in found:
            yield [labels.tokens.index(hypothesis.tokens)], [hypothesis.score], [math.nan]

    @torch.inference_mode()
    def score(
        self, pixels: torch.Tensor, texts: Sequence[tuple[Sequence[str], Any]], prompt: Sequence[int]
    ) -> list[list[TextScore]]:
        """Scores of each image's texts, given as (texts, their ids with [SEP])."""
        prefix = self.model.encode(self._on_device(pixels))
        found = score_texts(self.model, prefix, [prompt] * len(pixels), [ids for _, ids in texts])
        results = []
        for (said, ids), of_image in zip(texts, found, strict=True):
            rows = zip(said, ids, of_image, strict=True)
            results.append(
                [
                    TextScore(text, math.fsum(values), math.exp(math.fsum(values) / len(values)), tokens[:-1], values)
                    for text, tokens, values in rows
                ]
            )
        return results

    def prompts_of(self, questions: Sequence[str]) -> list[list[int]]:
        """What questions begin a text with. Raises InputError for none, and for one that cannot be asked."""
        if isinstance(questions, str) or not questions:
            raise InputError(f"questions must be a list of at least one text, not {questions!r}")
        return [prompt_ids(self.tokenizer, question) for question in questions]

    def texts_of(self, texts: Sequence[str]) -> tuple[Sequence[str], list[tuple[int, ...]]]:
        """Texts and their ids, [SEP] last. Raises InputError for what is no text or holds no word."""
        if isinstance(texts, str) or not texts:
            raise InputError(f"texts must be a list of at least one text, not {texts!r}")
        results = []
        for text in texts:
            ids = self.tokenizer.encode(text)
            if not ids or self.tokenizer.sep_id in ids:
                raise InputError(f"the text {text!r} cannot be scored: it must hold a word, and no [SEP]")
            results.append((*ids, self.tokenizer.sep_id))
        return texts, results

    def stream(self, pixels: torch.Tensor, prompt: Sequence[int], options: GenerationOptions) -> Iterator[str]:
        """What comes after the prompt of one image, (…, 3, height, width), piece by piece as it is found."""
        with torch.inference_mode():
            room = room_for(1, len(prompt), options.lines, options.max_new_tokens)
            prefix = self.model.encode(self._on_device(pixels[None]), room)
        said, tokens = "", list[int]()
        for token in stream(self.model, prefix, prompt, options, self._wording(options)):
            tokens.append(token)
            text = self._text_after(prompt, tokens)
            if text.startswith(said):
                yield text[len(said) :]
                said = text

    def _on_device(self, pixels: torch.Tensor) -> torch.Tensor:
        norm = self.model.projection_norm.weight  # a float where other weights are int8
        if norm.device.type == "cuda":
            pixels = pixels.pin_memory()
        return pixels.to(norm.device, norm.dtype, non_blocking=True)

    def _wording(self, options: GenerationOptions) -> Wording:
        tokenizer = self.tokenizer
        banned = [tokens for word in options.banned_words for tokens in tokenizer.spellings(word)]
        if not options.required_words:
            return Wording(tokenizer.never_written, banned)
        required = [tokenizer.encode(word) for word in options.required_words]
        for word, tokens in zip(options.required_words, required, strict=True):
            if set(tokens) & {tokenizer.unk_id, *tokenizer.never_written}:
                raise ConfigurationError(f"the required word {word!r} cannot be written with this model's vocabulary")
        return Wording(tokenizer.never_written, banned, required, self._word_pieces)

    @cached_property
    def _word_pieces(self) -> torch.Tensor:
        return torch.tensor(self.tokenizer.word_pieces)

    def _caption_of(self, hypotheses: Sequence[Hypothesis], prompt: Sequence[int]) -> Caption:
        if not hypotheses:
            raise InputError("no caption fits the options: allow more words or a shorter caption")
        captions = tuple(
            Caption(self._text_after(prompt, h.tokens), h.score, h.confidence, h.tokens, h.log_probabilities)
            for h in hypotheses
        )
        return replace(captions[0], alternatives=captions) if len(captions) > 1 else captions[0]

    def _text_after(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """The words of `tokens`; where they go on within the prompt's last word, without the mark of a word's piece."""
        before = self.tokenizer.decode(prompt)
        together = self.tokenizer.decode([*prompt, *tokens])
        return together[len(before) :].lstrip() if together.startswith(before) else self.tokenizer.decode(tokens)

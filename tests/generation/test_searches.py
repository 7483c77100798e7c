"""Greedy and beam search against slow, obvious searches over lists: one text at a time, everything computed anew."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from picscribe.generation import GenerationOptions, Hypothesis, LexicalConstraints, generate
from picscribe.generation.beam_search import BeamSearch
from picscribe.model import Git

SEP, WORDS = 2, 23
NEVER_WRITTEN = (0, 1, 3)


@torch.no_grad()
def next_log_probs(model: Git, pixels: Tensor, tokens: Sequence[int]) -> list[float]:
    """Everything computed anew from pixels (3, height, width) and tokens: log-probabilities (V,) of the next token."""
    logits = model(pixels[None], torch.tensor([[list(tokens)]]))[0, 0, -1]
    return logits.log_softmax(-1).tolist()


def forbidden_tokens(
    options: GenerationOptions,
    never_written: Sequence[int],
    banned: Sequence[Sequence[int]],
    prompt: list[int],
    new: list[int],
) -> set[int]:
    """Which tokens may not come next, each rule spelt out."""
    history = prompt + new
    forbidden = set() if options.special_tokens else set(never_written)
    if len(new) < options.min_new_tokens:
        forbidden.add(SEP)
    if options.no_immediate_repeat and new:
        forbidden.add(new[-1])
    for sequence in banned:
        begin = list(sequence[:-1])
        if not begin or history[-len(begin) :] == begin:
            forbidden.add(sequence[-1])
    size = options.no_repeat_ngram
    if size:
        groups = {tuple(history[i : i + size]) for i in range(len(history) - size + 1)}
        forbidden |= {token for token in range(WORDS) if (*history[len(history) - size + 1 :], token) in groups}
    return forbidden


@dataclass
class Oracle:
    """One text of one image under `options`."""

    model: Git
    pixels: Tensor
    prompt: list[int]
    options: GenerationOptions
    never_written: Sequence[int] = ()
    banned: Sequence[Sequence[int]] = ()
    steps: int = field(default=0, init=False)
    bound: int | None = field(default=None, init=False)
    memory: dict[tuple[int, ...], list[float]] = field(default_factory=dict, init=False)

    def allowed(self, new: list[int]) -> list[tuple[int, float]]:
        if tuple(new) not in self.memory:
            self.memory[tuple(new)] = next_log_probs(self.model, self.pixels, self.prompt + new)
        log_probs = self.memory[tuple(new)]
        forbidden = forbidden_tokens(self.options, self.never_written, self.banned, self.prompt, new)
        allowed = [(token, value) for token, value in enumerate(log_probs) if token not in forbidden]
        return allowed or [(SEP, log_probs[SEP])]

    def greedy(self) -> tuple[list[int], float]:
        new: list[int] = []
        total = 0.0
        while len(new) < self.options.max_new_tokens:
            token, log_prob = max(self.allowed(new), key=lambda pair: pair[1])
            total += log_prob
            if token == SEP:
                break
            new.append(token)
        return new, total

    def candidates(self, beams: list[tuple[float, list[int]]]) -> list[tuple[float, list[int], int]]:
        """The best 2K ways on: log-probability, what has been written, next token."""
        found = [(total + value, new, token) for total, new in beams for token, value in self.allowed(new)]
        return sorted(found, key=lambda way: -way[0])[: 2 * self.options.beams]

    def beam_search(self) -> list[tuple[list[int], float]]:
        """Hypotheses with scores, best first."""
        found = self.as_the_original() if self.options.scoring == "git" else self.as_transformers()
        return found[: self.options.num_captions]

    def as_the_original(self) -> list[tuple[list[int], float]]:
        """Lengths count [CLS] and prompt; the limit counts one more, for [SEP]. No text is listed twice."""
        options, prompt = self.options, len(self.prompt)

        def norm(length: int) -> float:
            return ((5 + length) / 6) ** options.length_penalty

        limit = prompt + options.max_new_tokens + 1
        beams: list[tuple[float, list[int]]] = [(0.0, [])]
        ended: list[tuple[list[int], float]] = []
        for length in range(prompt, limit):
            ways = self.candidates(beams)
            self.steps += 1
            if len(ended) == options.num_captions and ended[-1][1] >= ways[0][0] / norm(
                prompt + (self.bound or options.max_new_tokens)
            ):
                break
            beams = []
            for total, new, token in ways:
                if token == SEP or length + 1 == limit:
                    if new not in [text for text, _ in ended]:
                        ended.append((new, total / norm(length)))
                    ended = sorted(ended, key=lambda hypothesis: -hypothesis[1])[: options.num_captions]
                else:
                    beams.append((total, [*new, token]))
                if len(beams) == options.beams:
                    break
        return ended

    def as_transformers(self) -> list[tuple[list[int], float]]:
        """Lengths count new tokens, [SEP] among them."""
        options = self.options
        beams: list[tuple[float, list[int]]] = [(0.0, [])]
        ended: list[tuple[list[int], float]] = []
        for length in range(1, options.max_new_tokens + 1):
            ways = self.candidates(beams)
            self.steps += 1
            beams = []
            for rank, (total, new, token) in enumerate(ways):
                written = new if token == SEP else [*new, token]
                if token != SEP and length < options.max_new_tokens:
                    beams.append((total, written))
                elif rank < options.beams:
                    ended.append((written, total / length**options.length_penalty))
            beams = beams[: options.beams]
            ended = sorted(ended, key=lambda hypothesis: -hypothesis[1])[: options.beams]
            best_open = beams[0][0] / length**options.length_penalty if beams else -math.inf
            if len(ended) == options.beams and ended[-1][1] >= best_open:
                break
        return ended


def random_options(seed: int) -> GenerationOptions:
    """Any options that are allowed, those of beam search mostly."""
    draw = random.Random(seed)
    beams, limit = draw.choice([1, 2, 2, 3, 3, 4, 5]), draw.randint(1, 9)
    return GenerationOptions(
        beams=beams,
        max_new_tokens=limit,
        min_new_tokens=draw.choice([0, 0, draw.randint(0, limit)]),
        num_captions=draw.randint(1, beams),
        length_penalty=draw.choice([0.0, 0.6, 0.6, 1.0, 2.5, -1.0]),
        scoring=draw.choice(["git", "transformers"]),
        no_repeat_ngram=draw.choice([0, 0, 0, 1, 2, 3]),
        no_immediate_repeat=draw.random() < 0.2,
        special_tokens=draw.random() < 0.3,
    )


def random_prompt(draw: random.Random) -> list[int]:
    return [1, *(draw.randint(4, WORDS - 1) for _ in range(draw.choice([0, 0, 1, 2, 5])))]


def search(
    model: Git, pixels: Tensor, prompts: Any, options: GenerationOptions, banned: Any = ()
) -> list[list[list[Hypothesis]]]:
    with torch.no_grad():
        return generate(model, model.encode(pixels), prompts, options, LexicalConstraints(NEVER_WRITTEN, banned))


def assert_hypotheses(found: Sequence[Hypothesis], expected: Sequence[tuple[list[int], float]]) -> None:
    assert [list(hypothesis.tokens) for hypothesis in found] == [tokens for tokens, _ in expected]
    assert [hypothesis.score for hypothesis in found] == pytest.approx(
        [score for _, score in expected], rel=1e-4, abs=1e-4
    )


@pytest.mark.parametrize("seed", range(120))
def test_equals_the_oracle(seed: int, tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]) -> None:
    """Several images, prompts of different lengths for each, any options: each text as the oracle finds it alone."""
    draw = random.Random(1000 + seed)
    model, pixels = tiny_model(seed, sep_bias=draw.choice([0.0, 1.0, 2.5])), random_pixels(seed, draw.choice([1, 2, 3]))
    options, texts = random_options(seed), draw.choice([1, 1, 2, 3])
    banned = [
        [draw.randint(3, WORDS - 1) for _ in range(draw.choice([1, 2, 3]))] for _ in range(draw.choice([0, 0, 4]))
    ]
    prompts = [[random_prompt(draw) for _ in range(texts)] for _ in range(len(pixels))]
    found = search(model, pixels, prompts, options, banned)
    for image, text in itertools.product(range(len(pixels)), range(texts)):
        oracle = Oracle(model, pixels[image], prompts[image][text], options, NEVER_WRITTEN, banned)
        expected = [oracle.greedy()] if options.beams == 1 else oracle.beam_search()
        assert_hypotheses(found[image][text], expected)


def test_the_random_cases_are_not_trivial(tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]) -> None:
    """Texts of many lengths, ended by [SEP] and by the limit, and searches that stop early."""
    options = GenerationOptions(max_new_tokens=9)
    lengths, ended, early = set(), set(), 0
    for seed in range(15):
        model, pixels = tiny_model(seed), random_pixels(seed, 1)
        oracle = Oracle(model, pixels[0], [1], options, NEVER_WRITTEN)
        (tokens, _), *_ = oracle.beam_search()
        lengths.add(len(tokens))
        ended.add(len(tokens) < 9)
        early += oracle.steps < 10
    assert len(lengths) > 3
    assert ended == {True, False}
    assert 0 < early < 15


def test_the_original_bounds_by_the_longest_caption_it_allows(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]
) -> None:
    """When to stop: as many steps as the oracle, and a bound one token longer would take more."""
    options = GenerationOptions(beams=2, max_new_tokens=8, length_penalty=2.0)
    steps: list[int] = []
    choose = BeamSearch.choose

    def counted(self: BeamSearch, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        steps[-1] += 1
        return choose(self, log_probs)

    monkeypatch.setattr(BeamSearch, "choose", counted)
    expected: dict[int, list[int]] = {8: [], 9: []}
    for seed in range(25):
        model, pixels = tiny_model(seed), random_pixels(seed, 1)
        steps.append(0)
        search(model, pixels, [[[1]]], options)
        for bound, counts in expected.items():
            oracle = Oracle(model, pixels[0], [1], options, NEVER_WRITTEN)
            oracle.bound = bound
            oracle.beam_search()
            counts.append(oracle.steps)
    assert steps == expected[8]
    assert steps != expected[9]


@pytest.mark.parametrize("scoring", ["git", "transformers"])
def test_scores_are_normalised_log_probabilities(
    scoring: Any, tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]
) -> None:
    options = GenerationOptions(beams=4, num_captions=4, max_new_tokens=8, length_penalty=0.7, scoring=scoring)
    ended = 0
    for seed in range(8):
        for hypothesis in search(tiny_model(seed), random_pixels(seed, 1), [[[1, 9]]], options)[0][0]:
            words, total = len(hypothesis.tokens), sum(hypothesis.log_probabilities)
            norm = ((5 + 2 + words) / 6) ** 0.7 if scoring == "git" else len(hypothesis.log_probabilities) ** 0.7
            if scoring == "git" and len(hypothesis.log_probabilities) == words:
                assert words == 8
                assert hypothesis.score < total / norm  # the dropped word at the limit counts in the score
            else:
                assert hypothesis.score == pytest.approx(total / norm, rel=1e-5)
            ended += len(hypothesis.log_probabilities) > words
    assert ended


def test_log_probabilities_are_the_models(tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]) -> None:
    """Of every token, filters or not: what the model says with everything computed anew."""
    model, pixels = tiny_model(5), random_pixels(5, 1)
    for beams in (1, 3):
        options = GenerationOptions(beams=beams, max_new_tokens=6, no_repeat_ngram=1)
        (hypothesis,) = search(model, pixels, [[[1, 7]]], options)[0][0]
        so_far = [1, 7]
        for token, log_prob in zip((*hypothesis.tokens, SEP), hypothesis.log_probabilities, strict=False):
            if token != SEP or len(hypothesis.tokens) < 6:
                assert next_log_probs(model, pixels[0], so_far)[token] == pytest.approx(log_prob, abs=1e-4)
            so_far.append(token)
        assert len(so_far) > 4

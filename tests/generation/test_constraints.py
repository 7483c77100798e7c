"""Each filter against the rule spelt out over Python lists, and whole searches that must keep to them."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from picscribe.generation import GenerationOptions, LexicalConstraints, generate
from picscribe.generation.constraints import (
    NO_TOKEN,
    Filter,
    forbid_ending_before,
    forbid_immediate_repeat,
    forbid_repeated_ngrams,
    forbid_sequences,
    forbid_tokens,
)
from picscribe.model import Git

SEP, WORDS = 2, 12


def contains(tokens: Sequence[int], run: Sequence[int]) -> bool:
    return any(list(tokens[start : start + len(run)]) == list(run) for start in range(len(tokens) - len(run) + 1))


def random_histories(seed: int) -> tuple[list[list[list[int]]], int]:
    """Histories [text][beam], prompts of different lengths first, and how many of their tokens are new."""
    draw = random.Random(seed)
    new = draw.randint(0, 5)
    texts = []
    for _ in range(3):
        prompt = [1, *(draw.randint(3, WORDS - 1) for _ in range(draw.randint(0, 4)))]
        texts.append([prompt + [draw.randint(3, 6) for _ in range(new)] for _ in range(2)])
    return texts, new


def forbidden_by(apply: Filter, histories: list[list[list[int]]], new: int) -> list[list[set[int]]]:
    longest = max(len(beam) for text in histories for beam in text)
    padded = torch.tensor([[[NO_TOKEN] * (longest - len(beam)) + beam for beam in text] for text in histories])
    before = torch.randn(len(histories), 2, WORDS)
    after = before.clone()
    apply(after, padded, new)
    kept = after.isfinite()
    assert torch.equal(after[kept], before[kept]), "what stays allowed must keep its log-probability"
    return [[set((~row).nonzero()[:, 0].tolist()) for row in text] for text in kept]


Rule = Callable[[list[int], int, int], bool]

RUNS = [[5], [3, 4], [4, 4], [6, 3, 5], [3, 3, 3], [9, 10], [1, 3]]
CASES: dict[str, tuple[Filter, Rule]] = {
    "tokens": (forbid_tokens([7, 0, 7]), lambda history, new, token: token in (0, 7)),
    "ending": (forbid_ending_before(3, SEP), lambda history, new, token: token == SEP and new < 3),
    "sequences": (
        forbid_sequences(RUNS),
        lambda history, new, token: any(([*history, token])[-len(run) :] == run for run in RUNS),
    ),
    "repeat": (forbid_immediate_repeat(), lambda history, new, token: new > 0 and token == history[-1]),
} | {
    f"{size}-grams": (
        forbid_repeated_ngrams(size),
        lambda history, new, token, size=size: (
            len(history) >= size and contains(history, [*history[len(history) - size + 1 :], token])
        ),
    )
    for size in (1, 2, 3, 4)
}


@pytest.mark.parametrize("name", CASES)
def test_filters_follow_their_rules(name: str) -> None:
    apply, rule = CASES[name]
    forbade = 0
    for seed in range(60):
        histories, new = random_histories(seed)
        found = forbidden_by(apply, histories, new)
        for text, of_text in zip(histories, found, strict=True):
            for history, forbidden in zip(text, of_text, strict=True):
                assert forbidden == {token for token in range(WORDS) if rule(history, new, token)}
                forbade += len(forbidden)
    assert forbade


@pytest.fixture
def texts_of(
    tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]
) -> Callable[..., list[tuple[int, ...]]]:
    """All captions of six models, two images each, under some options."""

    def find(never_written: Sequence[int] = (), banned: Any = (), **settings: Any) -> list[tuple[int, ...]]:
        texts = []
        for seed in range(6):
            model = tiny_model(seed)
            with torch.no_grad():
                prefix = model.encode(random_pixels(seed, 2))
            found = generate(
                model, prefix, [[[1, 5]]] * 2, GenerationOptions(**settings), LexicalConstraints(never_written, banned)
            )
            texts += [hypothesis.tokens for image in found for hypotheses in image for hypothesis in hypotheses]
        return texts

    return find


BEAMS = pytest.mark.parametrize(
    "settings",
    [{"beams": 1}, {}, {"scoring": "transformers"}, {"temperature": 1.0}, {"temperature": 1.0, "top_p": 0.9}],
    ids=["greedy", "git", "hf", "samples", "nucleus"],
)


@BEAMS
def test_special_and_unused_tokens_are_never_written(settings: dict[str, Any], texts_of: Any) -> None:
    special = (0, 1, 3, 9, 10, 11, 12, 13, 14, 15, 16)
    assert not any(set(tokens) & set(special) for tokens in texts_of(special, **settings))
    allowed = texts_of(special, special_tokens=True, **settings)
    assert any(set(tokens) & set(special) for tokens in allowed), "the models above would write them if they could"


@BEAMS
def test_banned_runs_never_come(settings: dict[str, Any], texts_of: Any) -> None:
    free = texts_of(**settings)
    banned = sorted(
        {tokens[i : i + size] for tokens in free for size in (2, 3) for i in range(len(tokens) - size + 1)}
    )[::2]
    banned += [(token,) for token in (7, 8)]
    assert any(contains(tokens, run) for tokens in free for run in banned)
    assert not any(contains(tokens, run) for tokens in texts_of(banned=banned, **settings) for run in banned)


@BEAMS
def test_a_banned_phrase_may_not_begin_in_the_prompt(settings: dict[str, Any], texts_of: Any) -> None:
    first = {tokens[0] for tokens in texts_of(**settings) if tokens}
    assert first
    banned = [(5, token) for token in first]
    assert not first & {tokens[0] for tokens in texts_of(banned=banned, **settings) if tokens}


@BEAMS
@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_ngram_comes_twice(size: int, settings: dict[str, Any], texts_of: Any) -> None:
    def repeats(tokens: tuple[int, ...]) -> bool:
        groups = [(1, 5, *tokens)[i : i + size] for i in range(len(tokens) + 3 - size)]
        return len(groups) > len(set(groups))

    assert any(repeats(tokens) for tokens in texts_of(**settings))
    assert not any(repeats(tokens) for tokens in texts_of(no_repeat_ngram=size, **settings))


@BEAMS
def test_no_token_comes_twice_in_a_row(settings: dict[str, Any], texts_of: Any) -> None:
    def repeats(tokens: tuple[int, ...]) -> bool:
        return any(tokens[i] == tokens[i + 1] for i in range(len(tokens) - 1))

    assert any(repeats(tokens) for tokens in texts_of(**settings))
    assert not any(repeats(tokens) for tokens in texts_of(no_immediate_repeat=True, **settings))


@BEAMS
def test_lengths_count_new_tokens(settings: dict[str, Any], texts_of: Any) -> None:
    free = [len(tokens) for tokens in texts_of(max_new_tokens=12, **settings)]
    assert min(free) < 4 and max(free) > 8
    bounded = [len(tokens) for tokens in texts_of(min_new_tokens=4, max_new_tokens=8, **settings)]
    assert min(bounded) >= 4 and max(bounded) == 8
    assert set(map(len, texts_of(min_new_tokens=6, max_new_tokens=6, **settings))) == {6}


@BEAMS
def test_where_nothing_is_allowed_the_text_ends(settings: dict[str, Any], texts_of: Any) -> None:
    """Rules that contradict each other cost the caption its end, never a forbidden word and never an endless search."""
    some = [(token,) for token in range(23) if token not in (SEP, 7, 8)]
    texts = texts_of(banned=some, min_new_tokens=9, max_new_tokens=9, no_repeat_ngram=1, **settings)
    assert texts and {len(tokens) for tokens in texts} == {2}
    assert all(set(tokens) == {7, 8} for tokens in texts)
    everything = [(token,) for token in range(23)]
    assert set(texts_of(banned=everything, **settings)) == {()}

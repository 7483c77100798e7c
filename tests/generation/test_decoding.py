"""The loop: batched = one by one, finished images leave, the cache never shows, an image is computed and kept once."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from picscribe.generation import GenerationOptions, Hypothesis, LexicalConstraints, decoding, generate
from picscribe.model import Git, TextCache
from picscribe.model.attention import PADDING_POSITION

Models = Callable[..., Git]
Pixels = Callable[..., Tensor]

SEARCHES = {
    "greedy": GenerationOptions(beams=1, max_new_tokens=12),
    "git": GenerationOptions(beams=3, num_captions=2, max_new_tokens=12),
    "transformers": GenerationOptions(beams=3, num_captions=2, max_new_tokens=12, scoring="transformers"),
}
each_search = pytest.mark.parametrize("options", SEARCHES.values(), ids=SEARCHES)


@torch.no_grad()
def run(model: Git, pixels: Tensor, prompts: Any, options: GenerationOptions) -> list[list[list[Hypothesis]]]:
    return generate(model, model.encode(pixels), prompts, options, LexicalConstraints((0, 1)))


def assert_same(found: list[Hypothesis], expected: list[Hypothesis], tolerance: float = 1e-4) -> None:
    assert [h.tokens for h in found] == [h.tokens for h in expected]
    assert [h.score for h in found] == pytest.approx([h.score for h in expected], rel=tolerance)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, rel=tolerance, abs=1e-5)


@each_search
def test_batched_equals_one_by_one(options: GenerationOptions, tiny_model: Models, random_pixels: Pixels) -> None:
    draw = random.Random(0)
    for seed in range(4):
        model, pixels = tiny_model(seed), random_pixels(seed, 5)
        prompts = [[[1, *(draw.randint(4, 22) for _ in range(draw.randint(0, 6)))] for _ in range(3)] for _ in range(5)]
        together = run(model, pixels, prompts, options)
        for image in range(5):
            for text in range(3):
                ((alone,),) = run(model, pixels[image : image + 1], [[prompts[image][text]]], options)
                assert_same(together[image][text], alone)


@each_search
def test_images_that_finish_leave_the_batch(
    options: GenerationOptions, tiny_model: Models, random_pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one compaction happens, down to one image alone, and each step decodes only who is left."""
    left: list[int] = []
    keep = TextCache.keep

    def watched(self: TextCache, images: Tensor) -> None:
        keep(self, images)
        left.append(len(self.prefix))

    monkeypatch.setattr(TextCache, "keep", watched)
    compactions, alone_at_last = 0, 0
    for seed in range(8):
        model, pixels = tiny_model(seed, sep_bias=2.0), random_pixels(seed, 12)
        left.clear()
        together = run(model, pixels, [[[1]]] * 12, options)
        assert all(2 * after <= before for before, after in zip([12, *left], left, strict=False))
        compactions += len(left)
        alone_at_last += left[-1:] == [1]
        for image in range(12):
            ((alone,),) = run(model, pixels[image : image + 1], [[[1]]], options)
            assert_same(together[image][0], alone)
    assert compactions > 3
    assert alone_at_last


@each_search
def test_cache_equals_no_cache_at_every_step_of_a_search(
    options: GenerationOptions, tiny_model: Models, random_pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of mixed lengths, beams that change places, images that leave: each hidden state, computed anew."""
    model, pixels = tiny_model(3), random_pixels(3, 4)
    prompts = [[[1, 5], [1]], [[1, 6, 7, 8], [1, 9]], [[1], [1, 4, 4]], [[1, 8], [1, 8, 9, 10, 11]]]
    compared, moved = 0, 0
    texts: list[list[list[int]]] = []
    images = list(range(4))
    decode_next, reorder, keep = Git.decode_next, TextCache.reorder, TextCache.keep

    def watched_reorder(self: TextCache, source: Tensor) -> None:
        nonlocal texts, moved
        moved += bool((source.shape[1] == len(texts[0])) and (source != torch.arange(source.shape[1])).any())
        texts = [[list(of_image[i]) for i in row] for of_image, row in zip(texts, source.tolist(), strict=True)]
        reorder(self, source)

    def watched_keep(self: TextCache, kept: Tensor) -> None:
        nonlocal texts, images
        texts, images = [texts[i] for i in kept.tolist()], [images[i] for i in kept.tolist()]
        keep(self, kept)

    def watched_decode(self: Git, tokens: Tensor, cache: TextCache, position: Tensor) -> Tensor:
        nonlocal texts, compared
        hidden = decode_next(self, tokens, cache, position)
        if not texts:
            texts = [[[] for _ in range(tokens.shape[1])] for _ in images]
        for row, image in enumerate(images):
            for text, so_far in enumerate(texts[row]):
                real = position[row, text] != PADDING_POSITION
                so_far += tokens[row, text, real].tolist()
                anew = model.decode(torch.tensor([[so_far]]), model.encode(pixels[image : image + 1]))[0, 0]
                new = int(real.sum())
                torch.testing.assert_close(hidden[row, text, :new], anew[-new:], rtol=1e-5, atol=1e-5)
                compared += 1
        return hidden

    monkeypatch.setattr(Git, "decode_next", watched_decode)
    monkeypatch.setattr(TextCache, "reorder", watched_reorder)
    monkeypatch.setattr(TextCache, "keep", watched_keep)
    run(model, pixels, prompts, options)
    assert compared > 8 * options.beams
    assert (moved > 3) == (options.beams > 1)


@each_search
def test_each_image_is_encoded_once(options: GenerationOptions, tiny_model: Models, random_pixels: Pixels) -> None:
    """Counted at the image encoder and at every layer that would see image tokens again."""
    model, counts = tiny_model(0), {"encoder": 0, "most tokens": 0}

    def count_images(_: Any, inputs: tuple[Tensor, ...], __: Any) -> None:
        counts["encoder"] += len(inputs[0])

    def count_tokens(_: Any, inputs: tuple[Tensor, ...], __: Any) -> None:
        counts["most tokens"] = max(counts["most tokens"], inputs[0].shape[1])

    model.image_encoder.register_forward_hook(count_images)
    with torch.no_grad():
        prefix = model.encode(random_pixels(0, 3))
    model.text_decoder.layers[0].attention.qkv.register_forward_hook(count_tokens)
    generate(model, prefix, [[[1], [1, 5]]] * 3, options)
    assert counts["encoder"] == 3
    assert counts["most tokens"] == 2 * max(2, options.beams)


class Watched:
    """Remembers the caches that a search makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.caches: list[TextCache] = []

        def make(*arguments: Any) -> TextCache:
            self.caches.append(TextCache(*arguments))
            return self.caches[-1]

        monkeypatch.setattr(decoding, "TextCache", make)


@pytest.mark.parametrize("beams", [1, 5])
def test_a_prefix_with_room_is_not_copied(
    beams: int, tiny_model: Models, random_pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, watched = tiny_model(1), Watched(monkeypatch)
    with torch.no_grad():
        prefix = model.encode(random_pixels(1, 1), room=2 * beams * (2 + 6))
    image_part = [key[:, :, : prefix.tokens].clone() for key in prefix.keys]
    generate(model, prefix, [[[1, 5], [1, 6]]], GenerationOptions(beams=beams, max_new_tokens=6))
    (cache,) = watched.caches
    for ours, stored in ((cache.prefix.keys, prefix.keys), (cache.prefix.values, prefix.values)):
        assert [tensor.data_ptr() for tensor in ours] == [tensor.data_ptr() for tensor in stored]
    for key, before in zip(prefix.keys, image_part, strict=True):
        assert torch.equal(key[:, :, : prefix.tokens], before), "texts must never change the image's part"


def test_memory_does_not_grow_by_image_tokens_for_each_beam(tiny_model: Models, random_pixels: Pixels) -> None:
    """No allocation of a search with 8 beams is as large as one more copy of the image's keys in one layer."""

    def largest(image_tokens: int, beams: int, room: int) -> int:
        model = tiny_model(2)
        features = torch.randn(1, image_tokens, model.config.image_encoder.width)
        with torch.no_grad():
            prefix = model.prefix_of(features, room)
        with torch.profiler.profile(profile_memory=True) as profile:
            generate(model, prefix, [[[1]]], GenerationOptions(beams=beams, max_new_tokens=6, min_new_tokens=6))
        return max(event.self_cpu_memory_usage for event in profile.events())

    tokens = 3000
    one_copy = 4 * 32 * tokens  # one layer's keys, 32 wide
    assert largest(tokens, 8, room=8 * 7) < one_copy
    assert largest(tokens, 8, room=0) >= one_copy, "a prefix without room is copied once, and this test sees it"


@each_search
def test_a_prefix_serves_several_calls(options: GenerationOptions, tiny_model: Models, random_pixels: Pixels) -> None:
    model = tiny_model(4)
    with torch.no_grad():
        prefix = model.encode(random_pixels(4, 3), room=3 * 20)
    first = generate(model, prefix, [[[1]]] * 3, options)
    generate(model, prefix, [[[1, 9, 9]]] * 3, options)
    assert generate(model, prefix, [[[1]]] * 3, options) == first


@each_search
def test_half_precision(options: GenerationOptions, tiny_model: Models, random_pixels: Pixels) -> None:
    """A bfloat16 model: scores in float32, close to those of the same weights in float32."""
    model, pixels = tiny_model(6), random_pixels(6, 4)
    half = tiny_model(6).bfloat16()
    with torch.no_grad():
        found = generate(half, half.encode(pixels.bfloat16()), [[[1]]] * 4, options)
    expected = run(model, pixels, [[[1]]] * 4, options)
    best = [(found[i][0][0], expected[i][0][0]) for i in range(4)]
    same = [(ours, theirs) for ours, theirs in best if ours.tokens == theirs.tokens]
    assert same, "rounding may change a caption, not all of them"
    for ours, theirs in same:
        assert ours.score == pytest.approx(theirs.score, rel=0.05)


@pytest.mark.parametrize("words", [4, 5, 7])
@pytest.mark.parametrize("scoring", ["git", "transformers"])
def test_vocabularies_smaller_than_twice_the_beams(
    words: int, scoring: Any, tiny_model: Models, random_pixels: Pixels
) -> None:
    """All of a vocabulary in the beams: still the best captions, none twice."""
    options = GenerationOptions(beams=4, num_captions=4, max_new_tokens=5, scoring=scoring)
    for seed in range(5):
        (hypotheses,) = run(tiny_model(seed, words=words), random_pixels(seed, 1), [[[1]]], options)[0]
        assert hypotheses
        assert len({h.tokens for h in hypotheses}) == len(hypotheses)
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        assert all(h.score > -100 for h in hypotheses)


def test_ties_are_broken_the_same_way_in_a_batch_and_alone(tiny_model: Models, random_pixels: Pixels) -> None:
    """A model that finds every word equally likely."""
    model = tiny_model(0)
    with torch.no_grad():
        model.text_decoder.output.weight.zero_()
        model.text_decoder.output.bias.zero_()
    for options in SEARCHES.values():
        together = run(model, random_pixels(0, 3), [[[1]]] * 3, options)
        for image in range(3):
            assert_same(together[image][0], together[0][0])

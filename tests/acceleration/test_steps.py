"""A step of one shape finds what a growing one finds, and changes nothing but tensors, as a CUDA graph must."""

import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from picscribe.acceleration.steps import FixedStep
from picscribe.errors import CheckpointError
from picscribe.generation import GenerationOptions, Hypothesis, LexicalConstraints, decoding, generate
from picscribe.generation.decoding import GrowingStep, Step, step_for
from picscribe.model import ClipVitConfig, Git, GitConfig, TextCache, TextDecoderConfig

SEARCHES = {
    "greedy": GenerationOptions(beams=1, max_new_tokens=12),
    "beams": GenerationOptions(beams=3, num_captions=2, max_new_tokens=12),
    "samples": GenerationOptions(temperature=1.0, num_captions=3, max_new_tokens=12),
}
each_search = pytest.mark.parametrize("options", SEARCHES.values(), ids=SEARCHES)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
each_device = pytest.mark.parametrize("device", DEVICES)


def _tiny_model(seed: int, words: int = 23, sep_bias: float = 1.0) -> Git:
    torch.manual_seed(seed)
    encoder = ClipVitConfig(width=24, layers=1, heads=3, mlp_width=32, patch_size=8, image_size=24)
    decoder = TextDecoderConfig(
        vocabulary_size=words, width=32, layers=2, heads=4, mlp_width=48, max_positions=40, cls_id=1, sep_id=2
    )
    model = Git(GitConfig(encoder, decoder)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(std=0.3)
        model.text_decoder.output.bias[2] += sep_bias
    return model


def _random_pixels(seed: int, images: int) -> Tensor:
    return torch.randn(images, 3, 24, 24, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def tiny_model() -> Callable[..., Git]:
    """Makes a model of `words` words, [CLS] 1 and [SEP] 2, whose words vary with image and text and whose texts end."""
    return _tiny_model


@pytest.fixture
def random_pixels() -> Callable[[int, int], Tensor]:
    """Makes pixels (images, 3, 24, 24) from a seed."""
    return _random_pixels


@torch.inference_mode()
def search(model: Git, pixels: Tensor, prompts: Any, options: GenerationOptions) -> list[list[list[Hypothesis]]]:
    return generate(
        model, model.encode(pixels.to(model.projection_norm.weight)), prompts, options, LexicalConstraints((0, 1))
    )


def assert_same(found: Any, expected: Any) -> None:
    for of_image, expected_of_image in zip(found, expected, strict=True):
        for ours, theirs in zip(of_image, expected_of_image, strict=True):
            assert [h.tokens for h in ours] == [h.tokens for h in theirs]
            assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], rel=1e-4, abs=1e-5)


class Steps:
    """Takes the place of `step_for`: fixed steps everywhere, kept for the next batch of the same shape."""

    def __init__(self) -> None:
        self.made: list[FixedStep] = []
        self.reused = 0

    def __call__(self, model: Git, cache: TextCache, reorders: bool) -> Step:
        for step in self.made:
            if step.cache.visible.shape[:2] == cache.visible.shape[:2] and step.cache.prefix.room == cache.prefix.room:
                step.cache.take_over(cache)
                step.model = model
                self.reused += 1
                return step
        self.made.append(FixedStep(model, cache, reorders))
        return self.made[-1]


@each_device
@each_search
def test_fixed_equals_growing(
    device: str,
    options: GenerationOptions,
    tiny_model: Callable[..., Git],
    random_pixels: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over prompts of mixed lengths, for several batches in the same memory, which begins full of infinities."""
    draw = random.Random(1)
    model, moved = tiny_model(3), tiny_model(3).to(device)
    steps = Steps()
    for seed in range(4):
        pixels = random_pixels(seed, 4)
        prompts = [[[1, *(draw.randint(4, 22) for _ in range(n))] for n in (draw.randint(0, 4), 5)] for _ in range(4)]
        expected = search(model, pixels, prompts, options)
        monkeypatch.setattr(decoding, "step_for", steps)
        empty = torch.Tensor.new_empty
        monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, shape, e=empty: e(self, shape).fill_(torch.inf))
        assert_same(search(moved, pixels, prompts, options), expected)
        monkeypatch.undo()
    assert len(steps.made) == 1
    assert steps.reused == 3


@each_search
def test_a_poisoned_batch_harms_no_later_one(
    options: GenerationOptions,
    tiny_model: Callable[..., Git],
    random_pixels: Callable[..., Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keys and values of a photo that is not a number stay in the step's memory, where no mask hides them."""
    model, pixels = tiny_model(3), random_pixels(0, 4)
    expected = search(model, pixels, [[[1, 5]]] * 4, options)
    monkeypatch.setattr(decoding, "step_for", Steps())
    with monkeypatch.context() as unchecked:
        unchecked.setattr(decoding, "check_finite", lambda model, values: None)
        search(model, torch.full_like(pixels, torch.nan), [[[1, 5]]] * 4, options)
    with pytest.raises(CheckpointError, match="not finite"):
        search(model, torch.full_like(pixels, torch.nan), [[[1, 5]]] * 4, options)
    assert_same(search(model, pixels, [[[1, 5]]] * 4, options), expected)


def test_an_idle_step_does_not_keep_its_model(
    tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(3)
    kept, made = weakref.ref(model), list[weakref.ref[FixedStep]]()

    def fixed(model: Git, cache: TextCache, reorders: bool) -> Step:
        step = FixedStep(model, cache, reorders)
        made.append(weakref.ref(step))
        return step

    monkeypatch.setattr(decoding, "step_for", fixed)
    search(model, random_pixels(0, 2), [[[1]]] * 2, SEARCHES["beams"])
    gc.collect()
    assert made[0]() is not None, "the step waits for the next batch"
    del model
    gc.collect()
    assert kept() is None and made[0]() is None


@each_search
def test_a_step_can_be_replayed(
    options: GenerationOptions, tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]
) -> None:
    """The first step, recorded operation by operation on its memory, serves as every later one."""
    from torch.fx.experimental.proxy_tensor import make_fx

    model, beams = tiny_model(5), options.lines
    with torch.no_grad():
        made: list[Any] = []
        for kind in (FixedStep, GrowingStep):
            cache = TextCache(model.encode(random_pixels(5, 3), room=3 + 9 * beams), 1, 3 + 9 * beams)
            model.decode_next(torch.tensor([[[1, 5, 6]]] * 3), cache)
            cache.reorder(torch.zeros((3, beams), dtype=torch.long))
            made.append(FixedStep(model, cache, beams > 1) if kind is FixedStep else GrowingStep(model, cache))
        fixed, growing = made
        recorded = None
        generator = torch.Generator().manual_seed(0)
        for number in range(9):
            source = torch.randint(beams, (3, beams), generator=generator) if beams > 1 else None
            token = torch.randint(4, 22, (3, beams), generator=generator)
            position = torch.full((3, beams), 3 + number)
            expected = growing(source, token, position)
            if source is not None:
                fixed.source.copy_(source)
            fixed.token.copy_(token)
            fixed.position.copy_(position)
            if recorded is None:
                visible, slots = fixed.cache.visible.clone(), fixed.cache.next_slots.clone()
                recorded = make_fx(lambda _: fixed.compute())(token)
                fixed.cache.visible.copy_(visible)
                fixed.cache.next_slots.copy_(slots)
            assert torch.allclose(recorded(token), expected, rtol=1e-4, atol=1e-5), number


def test_where_there_is_no_gpu_texts_grow(tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]) -> None:
    model = tiny_model(0)
    with torch.no_grad():
        assert step_for(model, TextCache(model.encode(random_pixels(0, 1)), 1, 4), True).shrinks


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@each_search
def test_a_graph_serves_the_next_batch(
    options: GenerationOptions, tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]
) -> None:
    model = tiny_model(2)
    batches = [random_pixels(seed, 4) for seed in range(3)]
    expected = [search(model, pixels, [[[1]]] * 4, options) for pixels in batches]
    model.to("cuda")
    for pixels, of_batch in zip(batches, expected, strict=True):
        assert_same(search(model, pixels.cuda(), [[[1]]] * 4, options), of_batch)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@each_search
def test_a_graph_under_autocast_follows_weights_that_learn(
    options: GenerationOptions, tiny_model: Callable[..., Git], random_pixels: Callable[..., Tensor]
) -> None:
    """Generation is inference, in which autocast keeps no copy of weights: a kept one would be old, or freed."""
    model, other, pixels = tiny_model(2).cuda(), tiny_model(3).cuda(), random_pixels(0, 4).cuda()

    def found(searched: Git) -> list[list[list[Hypothesis]]]:
        with torch.autocast("cuda", torch.bfloat16):
            return search(searched, pixels, [[[1]]] * 4, options)

    found(model)  # captured with other weights
    model.load_state_dict(other.state_dict())
    junk = [torch.randn(1 << 20, device="cuda") for _ in range(64)]  # over what autocast gave back
    del junk
    again = found(model)
    assert [[h.tokens for h in of[0]] for of in again] == [[h.tokens for h in of[0]] for of in found(other)]

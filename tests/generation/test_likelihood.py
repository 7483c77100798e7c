"""Likelihoods of texts and labels against one text at a time through the whole model."""

import random
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from picscribe.acceleration.accelerated import Accelerated
from picscribe.acceleration.int8 import quantize
from picscribe.errors import ConfigurationError, InputError
from picscribe.generation import likelihood
from picscribe.generation.label_trie import LabelTrie
from picscribe.generation.likelihood import compute_label_likelihoods, compute_log_probabilities, rank_labels
from picscribe.model import Git

CLS, SEP, WORDS = 1, 2, 23
MakeModel = Callable[..., Git]
MakePixels = Callable[[int, int], Tensor]


@torch.no_grad()
def one_by_one(model: Git, pixels: Tensor, prompt: Sequence[int], text: Sequence[int]) -> list[float]:
    """Log-probability of each token of one text over one image."""
    tokens = torch.tensor([[[*prompt, *text]]])
    log_probs = model(pixels[None], tokens)[0, 0].log_softmax(-1)
    return [float(log_probs[len(prompt) + i - 1, token]) for i, token in enumerate(text)]


def random_tokens(draw: random.Random, least: int, most: int) -> list[int]:
    return [draw.randint(3, WORDS - 1) for _ in range(draw.randint(least, most))]


def random_labels(draw: random.Random, count: int) -> list[list[int]]:
    """Distinct labels of which many share a beginning, and some begin others."""
    labels = {(draw.randint(3, WORDS - 1),)}
    while len(labels) < count:
        begin = draw.choice(sorted(labels))[: draw.randint(0, 4)]
        labels.add((*begin, draw.randint(3, WORDS - 1)))
    return [list(label) for label in draw.sample(sorted(labels), count)]


def random_batch(seed: int, make: MakePixels) -> tuple[random.Random, Tensor, list[list[int]]]:
    draw = random.Random(seed)
    images = draw.randint(1, 5)
    return draw, make(seed, images), [[CLS, *random_tokens(draw, 0, 4)] for _ in range(images)]


def oracle(model: Git, pixels: Tensor, prompts: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> Tensor:
    """(B, L) by summing over one text at a time."""
    return torch.tensor(
        [
            [sum(one_by_one(model, image, prompt, [*label, SEP])) for label in labels]
            for image, prompt in zip(pixels, prompts, strict=True)
        ]
    )


@pytest.mark.parametrize("seed", range(12))
def test_texts_as_one_by_one(
    seed: int, tiny_model: MakeModel, random_pixels: MakePixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, pixels, prompts = random_batch(seed, random_pixels)
    monkeypatch.setattr(likelihood, "ROWS", draw.choice([1, 9, 40, 512]))
    monkeypatch.setattr(likelihood, "TOKENS_AN_IMAGE", draw.choice([1, 9, 20, 256]))
    monkeypatch.setattr(likelihood, "LOGITS", draw.choice([1, 3 * WORDS, 2**22]))
    model = tiny_model(seed)
    texts = [
        [random_tokens(draw, 1, 6) + [SEP] * draw.randint(0, 1) for _ in range(draw.randint(0, 5))] for _ in prompts
    ]
    found = compute_log_probabilities(model, model.encode(pixels), prompts, texts)
    for image, prompt, of_image, scores in zip(pixels, prompts, texts, found, strict=True):
        assert [len(score) for score in scores] == [len(text) for text in of_image]
        for text, score in zip(of_image, scores, strict=True):
            assert score == pytest.approx(one_by_one(model, image, prompt, text), abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_labels_as_one_by_one(
    seed: int, tiny_model: MakeModel, random_pixels: MakePixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, pixels, prompts = random_batch(seed, random_pixels)
    monkeypatch.setattr(likelihood, "ROWS", draw.choice([1, 7, 40, 200, 512]))
    monkeypatch.setattr(likelihood, "IMAGES", draw.choice([1, 2, 8]))
    monkeypatch.setattr(likelihood, "LOGITS", draw.choice([1, 3 * WORDS, 2**22]))
    model = tiny_model(seed)
    labels = random_labels(draw, draw.choice([1, 2, 10, 40]))
    trie, expected = LabelTrie.of(labels, SEP), oracle(model, pixels, prompts, labels)
    prefix = model.encode(pixels, draw.choice([0, 3, 50]))
    assert torch.allclose(compute_label_likelihoods(model, prefix, prompts, trie), expected, atol=1e-4)
    for top_k, tolerance in ((1, 1.0), (5, 1.0), (5, 0.2), (3, 0.001), (100, 1.0), (2, 0.0)):
        ranking = rank_labels(model, prefix, prompts, trie, top_k, tolerance)
        best = expected.topk(min(top_k, len(labels))).values
        assert torch.allclose(ranking.log_likelihood, best, atol=1e-4)
        assert torch.allclose(expected.gather(1, ranking.label), ranking.log_likelihood, atol=1e-4)
        assert all(len(set(row)) == len(row) for row in ranking.label.tolist())
        total = expected.logsumexp(1)
        least, most = ranking.known.exp(), ranking.known.exp() + ranking.open.exp()
        assert (least <= total.exp() * (1 + 1e-4)).all()
        assert (most >= total.exp() * (1 - 1e-4)).all()
        assert (ranking.open.exp() <= tolerance * most * (1 + 1e-4)).all()
        if tolerance == 0:
            assert torch.allclose(ranking.probability(), expected.softmax(1).topk(best.shape[1]).values, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_packed_model(seed: int, tiny_model: MakeModel, random_pixels: MakePixels) -> None:
    draw, pixels, prompts = random_batch(seed, random_pixels)
    model = tiny_model(seed)
    labels = random_labels(draw, 20)
    expected = oracle(model, pixels, prompts, labels)
    model = Accelerated(model).accelerate().running
    with torch.inference_mode():
        prefix = model.encode(pixels)
    assert torch.allclose(
        compute_label_likelihoods(model, prefix, prompts, LabelTrie.of(labels, SEP)), expected, atol=1e-4
    )


def test_int8_and_bfloat16_models(tiny_model: MakeModel, random_pixels: MakePixels) -> None:
    """Their numbers are coarser, and depend on the batch; they must come close."""
    draw, pixels, prompts = random_batch(3, random_pixels)
    labels = random_labels(draw, 20)
    trie, expected = LabelTrie.of(labels, SEP), oracle(tiny_model(3), pixels, prompts, labels)
    for model, inputs in ((quantize(tiny_model(3)), pixels), (tiny_model(3).bfloat16(), pixels.bfloat16())):
        with torch.inference_mode():
            prefix = model.encode(inputs)
        scores = compute_label_likelihoods(model, prefix, prompts, trie)
        texts = compute_log_probabilities(model, prefix, prompts, [[[*label, SEP] for label in labels]] * len(prompts))
        summed = torch.tensor([[sum(text) for text in of_image] for of_image in texts])
        for found in (scores, summed):
            assert found.dtype == torch.float32
            assert (found - expected).abs().mean() < 0.1 * expected.std()


def test_what_labels_share_is_computed_once(
    tiny_model: MakeModel, random_pixels: MakePixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each node that is no [SEP] goes through the vocabulary once an image, and a ranking leaves nodes out."""
    rows: list[int] = []
    model = tiny_model(0)
    logits = model.logits
    monkeypatch.setattr(model, "logits", lambda hidden: rows.append(len(hidden)) or logits(hidden))
    monkeypatch.setattr(likelihood, "ROWS", 8)
    labels = random_labels(random.Random(0), 60)
    trie = LabelTrie.of(labels, SEP)
    prompts = [[CLS]] * 3
    with torch.inference_mode():
        prefix = model.encode(random_pixels(0, 3))
    compute_label_likelihoods(model, prefix, prompts, trie)
    words = len({tuple(label[:end]) for label in labels for end in range(len(label) + 1)})
    assert sum(rows) == 3 * words
    rows.clear()
    rank_labels(model, prefix, prompts, trie, top_k=1)
    assert sum(rows) < 3 * words / 2


def test_logits_are_bounded(tiny_model: MakeModel, random_pixels: MakePixels, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    model = tiny_model(0)
    logits = model.logits
    monkeypatch.setattr(model, "logits", lambda hidden: rows.append(len(hidden)) or logits(hidden))
    monkeypatch.setattr(likelihood, "LOGITS", 4 * WORDS)
    with torch.inference_mode():
        prefix = model.encode(random_pixels(0, 2))
    compute_log_probabilities(model, prefix, [[CLS]] * 2, [[[3, 4, 5, 6, SEP]] * 5] * 2)
    assert max(rows) == 4


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([[[3]]], "2 images but texts for 1"),
        ([[[3]], [[4], []]], "text 1 of image 1 is empty"),
        ([[[3]], [[WORDS]]], "text 0 of image 1 has a token outside the model's vocabulary of 23"),
        ([[[3]], [[3] * 40]], "text 0 of image 1 is 40 tokens after a prompt of 1, but the model has 40 positions"),
    ],
)
def test_wrong_texts(
    texts: list[list[list[int]]], message: str, tiny_model: MakeModel, random_pixels: MakePixels
) -> None:
    model = tiny_model(0)
    with pytest.raises(InputError, match=message):
        compute_log_probabilities(model, model.encode(random_pixels(0, 2)), [[CLS]] * 2, texts)


def test_wrong_labels_and_options(tiny_model: MakeModel, random_pixels: MakePixels) -> None:
    model = tiny_model(0)
    prefix, prompts = model.encode(random_pixels(0, 2)), [[CLS], [CLS, 3]]
    trie = LabelTrie.of([[3], [4, 5]], SEP)
    for wrong, message in (
        (LabelTrie.of([[3], [WORDS]], SEP), "outside the model's vocabulary"),
        (LabelTrie.of([[3], [4] * 38], SEP), "label 1 is 39 tokens with .SEP., after a prompt of 2"),
    ):
        with pytest.raises(InputError, match=message):
            compute_label_likelihoods(model, prefix, prompts, wrong)
        with pytest.raises(InputError, match=message):
            rank_labels(model, prefix, prompts, wrong)
    for none in ([], [[CLS]], [[CLS], []], [[CLS], [WORDS]]):
        with pytest.raises(InputError, match="prompt"):
            compute_label_likelihoods(model, prefix, none, trie)
    for options in ({"top_k": 0}, {"tolerance": -0.1}, {"tolerance": 1.1}, {"tolerance": float("nan")}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            rank_labels(model, prefix, prompts, trie, **options)


def test_longest_label_that_fits(tiny_model: MakeModel, random_pixels: MakePixels) -> None:
    model, pixels = tiny_model(0), random_pixels(0, 1)
    labels = [[4] * 37, [4] * 36]
    found = compute_label_likelihoods(model, model.encode(pixels), [[CLS, 3]], LabelTrie.of(labels, SEP))
    assert torch.allclose(found, oracle(model, pixels, [[CLS, 3]], labels), atol=1e-4, rtol=1e-5)

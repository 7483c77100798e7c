"""Samples follow the model's distribution, groups of beams differ, required words stand: each against a slow oracle."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from picscribe.errors import ConfigurationError
from picscribe.generation import GenerationOptions, Hypothesis, LexicalConstraints, generate, stream
from picscribe.generation.beam_search import GitScoring
from picscribe.generation.greedy_search import Sampling
from picscribe.model import Git

Models, Pixels = Callable[..., Git], Callable[..., Tensor]
ORDINARY = LexicalConstraints((0, 1))
PIECES = torch.tensor([index in (9, 10, 11) for index in range(23)])


@torch.inference_mode()
def search(
    model: Git, pixels: Tensor, prompts: Any, options: GenerationOptions, wording: LexicalConstraints = ORDINARY
) -> list[list[list[Hypothesis]]]:
    return generate(model, model.encode(pixels), prompts, options, wording)


@torch.inference_mode()
def log_probs_after(model: Git, pixels: Tensor, tokens: Sequence[int]) -> Tensor:
    return model(pixels, torch.tensor([[tokens]]))[0, 0, -1].log_softmax(-1)


MIXED = {
    "greedy": {"beams": 1},
    "beams": {"beams": 4, "num_captions": 2},
    "transformers": {"beams": 3, "scoring": "transformers", "length_penalty": 1.0},
    "samples": {"temperature": 0.9, "num_captions": 3, "seed": 7},
    "top-k": {"temperature": 1.5, "top_k": 5},
    "nucleus": {"temperature": 1.0, "top_p": 0.7, "num_captions": 2},
    "groups": {"beams": 4, "beam_groups": 2, "num_captions": 3, "diversity_penalty": 1.0},
    "required": {"beams": 4, "required_words": ("x",)},
    "repetition": {"beams": 2, "repetition_penalty": 1.4},
}


@pytest.mark.parametrize("seed", range(23))
@pytest.mark.parametrize("name", MIXED)
def test_a_mixed_batch_equals_one_by_one(name: str, seed: int, tiny_model: Models, random_pixels: Pixels) -> None:
    """Images with one to four prompts of nought to nine tokens, every search: 207 random batches."""
    draw = random.Random(seed)
    model, images = tiny_model(seed), draw.randint(2, 5)
    pixels = random_pixels(seed, images)
    options = GenerationOptions(max_new_tokens=draw.randint(5, 12), **MIXED[name])  # type: ignore[arg-type]
    wording = LexicalConstraints((0, 1), required=[[5, 9], [6]] if options.required_words else (), word_pieces=PIECES)
    prompts = [
        [[1, *(draw.randint(4, 22) for _ in range(draw.randint(0, 9)))] for _ in range(draw.randint(1, 4))]
        for _ in range(images)
    ]
    together = search(model, pixels, prompts, options, wording)
    assert [len(of_image) for of_image in together] == [len(of_image) for of_image in prompts]
    for image, of_image in enumerate(prompts):
        for prompt, found in zip(of_image, together[image], strict=True):
            ((alone,),) = search(model, pixels[image : image + 1], [[prompt]], options, wording)
            assert [h.tokens for h in found] == [h.tokens for h in alone]
            assert [h.score for h in found] == pytest.approx([h.score for h in alone], abs=1e-4)
            for ours, theirs in zip(found, alone, strict=True):
                assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-4)


def expected_weights(log_prob: Tensor, temperature: float, top_k: int, top_p: float) -> dict[int, float]:
    """The distribution that is drawn from, spelt out: temperature, then the top k, then the nucleus."""
    weights = {index: math.exp(value / temperature) for index, value in enumerate(log_prob.tolist())}
    best = sorted(weights, key=lambda index: -weights[index])[: top_k or None]
    whole = sum(weights[index] for index in best)
    kept, heaped = [], 0.0
    for index in best:
        if heaped >= top_p:
            break
        kept.append(index)
        heaped += weights[index] / whole
    total = sum(weights[index] for index in kept)
    return {index: weights[index] / total for index in kept}


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 0, 1.0), (1.3, 4, 1.0), (1.0, 6, 0.6)]
)
def test_samples_follow_the_distribution(
    temperature: float, top_k: int, top_p: float, tiny_model: Models, random_pixels: Pixels
) -> None:
    """4,096 first words of one image: within five standard errors of what the network says."""
    model, pixels, samples = tiny_model(4), random_pixels(4, 1), 4096
    log_prob = log_probs_after(model, pixels, [1])
    options = GenerationOptions(temperature=temperature, top_k=top_k, top_p=top_p, seed=3, max_new_tokens=1)
    object.__setattr__(options, "num_captions", samples)  # more than anybody may ask for
    chooser = Sampling(options, 2, 23, 1, torch.device("cpu"))
    with torch.inference_mode():
        from picscribe.generation.decoding import decode

        (found,) = decode(model, model.encode(pixels), [[[1]]], chooser, [], 1)
    counts = Counter(hypothesis.tokens[0] if hypothesis.tokens else 2 for hypothesis in found)
    weights = expected_weights(log_prob, temperature, top_k, top_p)
    assert set(counts) <= set(weights)
    for token, weight in weights.items():
        error = math.sqrt(weight * (1 - weight) / samples)
        assert abs(counts[token] / samples - weight) <= 5 * error + 1e-6
    assert len(counts) > 2


def test_log_probabilities_of_samples_are_the_models(tiny_model: Models, random_pixels: Pixels) -> None:
    model, pixels = tiny_model(1), random_pixels(1, 1)
    options = GenerationOptions(temperature=2.0, num_captions=5, special_tokens=True, max_new_tokens=6)
    ((found,),) = search(model, pixels, [[[1, 6]]], options, LexicalConstraints())
    assert len({hypothesis.tokens for hypothesis in found}) > 1
    for hypothesis in found:
        said = [*hypothesis.tokens, 2][: len(hypothesis.log_probabilities)]
        for place, (token, log_prob) in enumerate(zip(said, hypothesis.log_probabilities, strict=True)):
            after = log_probs_after(model, pixels, [1, 6, *hypothesis.tokens[:place]])
            assert log_prob == pytest.approx(float(after[token]), abs=1e-4)


def test_a_seed_decides(tiny_model: Models, random_pixels: Pixels) -> None:
    model, pixels = tiny_model(1), random_pixels(1, 2)

    def drawn(seed: int) -> Any:
        options = GenerationOptions(temperature=1.5, num_captions=4, seed=seed)
        return [[h.tokens for h in of_image[0]] for of_image in search(model, pixels, [[[1]]] * 2, options)]

    assert drawn(5) == drawn(5)
    assert drawn(5) != drawn(6)


def test_draws_of_its_own(tiny_model: Models, random_pixels: Pixels) -> None:
    """The same image three times: the same samples by default, others where each text draws for itself."""
    model, pixels = tiny_model(1), random_pixels(1, 1).expand(3, -1, -1, -1)

    def drawn(own: bool) -> list[Any]:
        options = GenerationOptions(temperature=1.5, num_captions=6, seed=5, own_draws=own)
        return [[h.tokens for h in of_image[0]] for of_image in search(model, pixels, [[[1]]] * 3, options)]

    one, *others = drawn(False)
    assert others == [one, one]
    assert drawn(True) == drawn(True)
    assert len({str(of_image) for of_image in drawn(True)}) == 3


def test_a_low_temperature_is_greedy(tiny_model: Models, random_pixels: Pixels) -> None:
    model, pixels = tiny_model(2), random_pixels(2, 4)
    cold = search(model, pixels, [[[1]]] * 4, GenerationOptions(temperature=1e-4))
    greedy = search(model, pixels, [[[1]]] * 4, GenerationOptions(beams=1))
    assert [of_image[0][0].tokens for of_image in cold] == [of_image[0][0].tokens for of_image in greedy]


def test_groups_say_different_words(tiny_model: Models, random_pixels: Pixels) -> None:
    """A penalty beyond every difference: no two groups begin with the same word; none: the groups find the same."""
    for seed in range(5):
        model, pixels = tiny_model(seed, sep_bias=-2.0), random_pixels(seed, 1)
        settings: dict[str, Any] = {"beams": 3, "beam_groups": 3, "num_captions": 3, "max_new_tokens": 6}
        ((apart,),) = search(model, pixels, [[[1]]], GenerationOptions(**settings, diversity_penalty=100.0))
        firsts = [hypothesis.tokens[:1] for hypothesis in apart]
        assert len(firsts) == 3 == len(set(firsts))
        ((same,),) = search(model, pixels, [[[1]]], GenerationOptions(**settings, diversity_penalty=0.0))
        assert len(same) == 1


def test_group_scores_are_without_the_penalty(tiny_model: Models, random_pixels: Pixels) -> None:
    model, pixels = tiny_model(0, sep_bias=-2.0), random_pixels(0, 1)
    options = GenerationOptions(beams=4, beam_groups=2, num_captions=4, max_new_tokens=5, special_tokens=True)
    ((found,),) = search(model, pixels, [[[1]]], options, LexicalConstraints())
    for hypothesis in found:
        after = [
            float(log_probs_after(model, pixels, [1, *hypothesis.tokens[:place]])[token])
            for place, token in enumerate([*hypothesis.tokens, 2][: len(hypothesis.log_probabilities)])
        ]
        assert hypothesis.log_probabilities == pytest.approx(after, abs=1e-4)


def holds(tokens: Sequence[int], phrase: Sequence[int]) -> bool:
    ends = [
        place + len(phrase) for place in range(len(tokens)) if list(tokens[place : place + len(phrase)]) == list(phrase)
    ]
    return any(end == len(tokens) or not PIECES[tokens[end]] for end in ends)


@pytest.mark.parametrize("scoring", ["git", "transformers"])
def test_required_phrases_stand(scoring: Any, tiny_model: Models, random_pixels: Pixels) -> None:
    """In every caption, whatever they are, as words of their own: `5 9` is no `5`."""
    draw = random.Random(3)
    for seed in range(30):
        model, pixels = tiny_model(seed % 6), random_pixels(seed, 2)
        phrases = [
            [draw.randint(4, 8), *draw.sample(range(9, 23), draw.randint(0, 1))] for _ in range(draw.randint(1, 2))
        ]
        wording = LexicalConstraints((0, 1), required=phrases, word_pieces=PIECES)
        options = GenerationOptions(beams=4, max_new_tokens=9, scoring=scoring, required_words=("x",))
        for of_image in search(model, pixels, [[[1]]] * 2, options, wording):
            assert of_image[0], phrases
            for hypothesis in of_image[0]:
                assert all(holds(hypothesis.tokens, phrase) for phrase in phrases), (hypothesis.tokens, phrases)


def test_wide_beams_find_the_best_text_that_holds_the_word(tiny_model: Models, random_pixels: Pixels) -> None:
    """Against every text of up to three words."""
    words = range(3, 8)
    for seed in range(4):
        model, pixels = tiny_model(seed), random_pixels(seed, 1)
        scoring = GitScoring(0.6)
        best = -math.inf
        for count in range(1, 4):
            for text in itertools.product(words, repeat=count):
                if not holds(text, [5]):
                    continue
                with torch.inference_mode():
                    logits = model(pixels, torch.tensor([[[1, *text]]]))[0, 0].log_softmax(-1)
                log_prob = logits[range(count), list(text)].sum() + logits[count, 2]
                best = max(best, float(scoring.normalise(log_prob[None, None], torch.tensor([1]), count)))
        options = GenerationOptions(beams=23, max_new_tokens=4, required_words=("x",))
        wording = LexicalConstraints((0, 1, *range(8, 23)), required=[[5]], word_pieces=PIECES)
        ((found,),) = search(model, pixels, [[[1]]], options, wording)
        assert found[0].score >= best - 1e-4


def test_required_words_that_do_not_fit(tiny_model: Models, random_pixels: Pixels) -> None:
    options = GenerationOptions(max_new_tokens=2, required_words=("x",))
    for required in ([[5, 6, 7]], [[]]):
        with pytest.raises(ConfigurationError, match="required words take"):
            search(
                tiny_model(0),
                random_pixels(0, 1),
                [[[1]]],
                options,
                LexicalConstraints(required=required, word_pieces=PIECES),
            )


@pytest.mark.parametrize("name", ["greedy", "top-k"])
def test_a_stream_says_what_a_search_says(name: str, tiny_model: Models, random_pixels: Pixels) -> None:
    options = GenerationOptions(**MIXED[name])  # type: ignore[arg-type]
    for seed in range(4):
        model, pixels = tiny_model(seed), random_pixels(seed, 1)
        ((expected,),) = search(model, pixels, [[[1, 5]]], options)
        with torch.inference_mode():
            streamed = stream(model, model.encode(pixels), [1, 5], options, LexicalConstraints((0, 1)))
        assert tuple(streamed) == expected[0].tokens


def test_a_beam_search_cannot_be_streamed(tiny_model: Models, random_pixels: Pixels) -> None:
    model = tiny_model(0)
    with torch.no_grad(), pytest.raises(ConfigurationError, match="beams=1"):
        list(stream(model, model.encode(random_pixels(0, 1)), [1], GenerationOptions()))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": -1}, "temperature must be a number from 0"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"top_k": 5}, "set temperature above 0"),
        ({"top_p": 0.5}, "set temperature above 0"),
        ({"top_p": 0.0, "temperature": 1.0}, "top_p must be a number"),
        ({"top_k": -1, "temperature": 1.0}, "top_k must be a whole number"),
        ({"seed": 2**63, "temperature": 1.0}, "seed must be below"),
        ({"beam_groups": 3}, "must be a multiple of beam_groups"),
        ({"beam_groups": 2, "temperature": 1.0}, "leave out temperature"),
        ({"beam_groups": 2, "required_words": ["dog"]}, "do not go together"),
        ({"required_words": ["dog"], "beams": 1}, "at least 2 beams"),
        ({"required_words": ["dog"], "temperature": 1.0}, "leave out temperature"),
        ({"required_words": "dog"}, "required_words must be a list"),
        ({"required_words": [" "]}, "required_words must be a list"),
        ({"repetition_penalty": 0}, "repetition_penalty must be a number"),
        ({"diversity_penalty": -1}, "diversity_penalty must be a number"),
        ({"num_captions": 257, "temperature": 1.0}, "at most 256"),
    ],
)
def test_options_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        GenerationOptions(**settings)

"""Against transformers' `generate` with the same random weights: greedy and beam search, tokens and scores."""

from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from picscribe.checkpoints.hugging_face import expected_tensors  # noqa: E402
from picscribe.checkpoints.tensor_names import empty_model  # noqa: E402
from picscribe.checkpoints.weights import fill, gather  # noqa: E402
from picscribe.generation import GenerationOptions, Hypothesis, generate  # noqa: E402
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig  # noqa: E402

CLS, SEP, PAD = 2, 3, 0
TINY = GitConfig(
    ClipVitConfig(width=48, layers=2, heads=4, mlp_width=96, patch_size=8, image_size=32),
    TextDecoderConfig(
        vocabulary_size=50, width=32, layers=2, heads=4, mlp_width=64, max_positions=48, cls_id=CLS, sep_id=SEP
    ),
)
TINY_VIDEO = GitConfig(TINY.image_encoder, TINY.text_decoder, frames=3)
BASE = GitConfig(text_decoder=TextDecoderConfig(cls_id=CLS, sep_id=SEP))


def random_pair(
    config: GitConfig, seed: int, std: float = 0.25, output_std: float = 0.25, sep_bias: float = 1.8
) -> tuple[Git, Any]:
    """The same random weights in picscribe and in transformers, so wide that words vary, and some texts end."""
    torch.manual_seed(seed)
    image, text = config.image_encoder, config.text_decoder
    assert isinstance(image, ClipVitConfig)
    theirs = transformers.GitForCausalLM(
        transformers.GitConfig(
            vision_config={
                "hidden_size": image.width,
                "intermediate_size": image.mlp_width,
                "num_hidden_layers": image.layers,
                "num_attention_heads": image.heads,
                "image_size": image.image_size,
                "patch_size": image.patch_size,
            },
            vocab_size=text.vocabulary_size,
            hidden_size=text.width,
            num_hidden_layers=text.layers,
            num_attention_heads=text.heads,
            intermediate_size=text.mlp_width,
            max_position_embeddings=text.max_positions,
            num_image_with_embedding=config.frames or None,
            bos_token_id=CLS,
            eos_token_id=SEP,
            pad_token_id=PAD,
        )
    ).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "norm" not in name.lower():
                parameter.normal_(std=output_std if name.startswith("output") else std)
        theirs.output.bias[SEP] += sep_bias
    model = empty_model(config)
    state = gather(theirs.state_dict(), *expected_tensors(model), "transformers")
    return fill(model, state, "transformers"), theirs


def theirs_found(
    model: Any, pixels: Tensor, prompts: list[list[int]], **settings: Any
) -> list[list[tuple[list[int], float]]]:
    """For each image, transformers' tokens after the prompt, up to [SEP], and scores, best first."""
    with torch.no_grad():
        found = model.generate(
            pixel_values=pixels,
            input_ids=torch.tensor(prompts),
            do_sample=False,
            early_stopping=False,
            return_dict_in_generate=True,
            output_scores=True,
            **settings,
        )
    rows = []
    scores = [0.0] * len(found.sequences) if settings["num_beams"] == 1 else found.sequences_scores.tolist()
    for sequence, score in zip(found.sequences.tolist(), scores, strict=True):
        new = sequence[len(prompts[0]) :]
        rows.append((new[: new.index(SEP)] if SEP in new else new, score))
    texts = settings.get("num_return_sequences", 1)
    return [rows[start : start + texts] for start in range(0, len(rows), texts)]


def ours_found(
    model: Git, pixels: Tensor, prompts: list[list[int]], options: GenerationOptions
) -> list[list[Hypothesis]]:
    with torch.no_grad():
        prefix = model.encode(pixels)
    return [of_image[0] for of_image in generate(model, prefix, [[prompt] for prompt in prompts], options)]


def assert_same_search(
    pair: tuple[Git, Any], pixels: Tensor, prompts: list[list[int]], options: GenerationOptions
) -> list[Hypothesis]:
    """Compare every hypothesis of every image; returns ours, so that a test can see that they vary."""
    ours, theirs = pair
    found = ours_found(ours, pixels, prompts, options)
    expected = theirs_found(
        theirs,
        pixels,
        prompts,
        num_beams=options.beams,
        max_new_tokens=options.max_new_tokens,
        min_new_tokens=options.min_new_tokens or None,
        length_penalty=options.length_penalty,
        num_return_sequences=options.num_captions,
        no_repeat_ngram_size=options.no_repeat_ngram or None,
    )
    assert [[list(h.tokens) for h in best] for best in found] == [[tokens for tokens, _ in best] for best in expected]
    if options.beams > 1:
        for best, expected_best in zip(found, expected, strict=True):
            assert [h.score for h in best] == pytest.approx([score for _, score in expected_best], rel=1e-4)
    return [hypothesis for best in found for hypothesis in best]


def assert_varied(hypotheses: list[Hypothesis], longest: int) -> None:
    """The comparison means something: words vary, some texts end by themselves and some at the limit."""
    assert any(len(set(h.tokens)) > 2 for h in hypotheses)
    assert any(len(h.log_probabilities) > len(h.tokens) for h in hypotheses), "no text ended"
    assert any(len(h.tokens) == longest for h in hypotheses), "no text reached the limit"


PROMPTS = [[CLS], [CLS, 7, 11], [CLS, 20, 21, 22, 23, 24]]
SEEDS = range(6)


def seeded_pixels(seed: int, config: GitConfig, images: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    side = config.image_encoder.image_size
    return torch.randn(images, *([config.frames] if config.frames else []), 3, side, side, generator=generator)


@pytest.mark.parametrize("config", [TINY, TINY_VIDEO], ids=["image", "video"])
@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
@pytest.mark.parametrize("beams", [1, 4])
def test_tiny_models(config: GitConfig, prompt: list[int], beams: int) -> None:
    hypotheses = []
    for seed in SEEDS:
        pair, pixels = random_pair(config, seed), seeded_pixels(seed, config, 3)
        options = GenerationOptions(beams=beams, max_new_tokens=12, length_penalty=1.0, scoring="transformers")
        hypotheses += assert_same_search(pair, pixels, [prompt] * 3, options)
    assert_varied(hypotheses, 12)


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 0.6, 2.0])
@pytest.mark.parametrize("captions", [1, 3])
def test_length_penalties_and_several_captions(penalty: float, captions: int) -> None:
    hypotheses = []
    for seed in SEEDS:
        pair, pixels = random_pair(TINY, 100 + seed), seeded_pixels(seed, TINY, 3)
        options = GenerationOptions(
            beams=4, max_new_tokens=10, length_penalty=penalty, num_captions=captions, scoring="transformers"
        )
        hypotheses += assert_same_search(pair, pixels, [[CLS]] * 3, options)
    assert len({h.tokens for h in hypotheses}) > len(SEEDS)


@pytest.mark.parametrize("beams", [1, 2, 5])
@pytest.mark.parametrize(("least", "ngram"), [(4, 0), (0, 2), (3, 1)])
def test_shortest_length_and_repeated_ngrams(beams: int, least: int, ngram: int) -> None:
    for seed in SEEDS:
        pair, pixels = random_pair(TINY, 200 + seed), seeded_pixels(seed, TINY, 2)
        options = GenerationOptions(
            beams=beams,
            max_new_tokens=9,
            min_new_tokens=least,
            no_repeat_ngram=ngram,
            length_penalty=1.0,
            scoring="transformers",
        )
        assert_same_search(pair, pixels, [[CLS, 9], [CLS, 8]], options)


def test_one_new_token() -> None:
    pair, pixels = random_pair(TINY, 7), seeded_pixels(7, TINY, 2)
    for beams in (1, 4):
        options = GenerationOptions(beams=beams, max_new_tokens=1, length_penalty=1.0, scoring="transformers")
        assert_same_search(pair, pixels, [[CLS]] * 2, options)


def test_the_real_base_size() -> None:
    """GIT-base at 224 pixels with random weights: one image, with and without a prompt."""
    pair, pixels = random_pair(BASE, 0, std=0.02, output_std=0.1, sep_bias=9.5), seeded_pixels(0, BASE, 1)
    hypotheses = []
    for prompt in ([CLS], [CLS, 2054, 2003]):
        for beams in (1, 4):
            options = GenerationOptions(beams=beams, max_new_tokens=8, length_penalty=1.0, scoring="transformers")
            hypotheses += assert_same_search(pair, pixels, [prompt], options)
    assert_varied(hypotheses, 8)


VQA = GitConfig(ClipVitConfig(image_size=480), TextDecoderConfig(cls_id=CLS, sep_id=SEP))
LARGE_NARROW = GitConfig(
    ClipVitConfig(width=128, layers=24, heads=16, mlp_width=256, patch_size=14, image_size=224),
    TextDecoderConfig(width=96, heads=12, mlp_width=192, vocabulary_size=3000, cls_id=CLS, sep_id=SEP),
)
SIX_FRAMES = GitConfig(
    ClipVitConfig(width=192, layers=4, heads=12, mlp_width=384, patch_size=16, image_size=224),
    TextDecoderConfig(width=96, heads=12, mlp_width=192, vocabulary_size=3000, cls_id=CLS, sep_id=SEP),
    frames=6,
)
GEOMETRIES = {"base, 480 pixels": VQA, "large, patches of 14": LARGE_NARROW, "6 frames": SIX_FRAMES}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_released_geometries_answer_questions(name: str) -> None:
    """A question's answer, greedy and with beams."""
    config = GEOMETRIES[name]
    narrow = config.text_decoder.width < 768
    spread = (0.1, 0.2, 3.0) if narrow else (0.02, 0.1, 9.5)
    pair, pixels = random_pair(config, 3, *spread), seeded_pixels(3, config, 1)
    for beams in (1, 4):
        options = GenerationOptions(beams=beams, max_new_tokens=5, length_penalty=1.0, scoring="transformers")
        found = assert_same_search(pair, pixels, [[CLS, 2054, 2003, 1999]], options)
        assert any(len(hypothesis.tokens) > 1 for hypothesis in found)

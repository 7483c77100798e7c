"""The network: shapes, the image prefix that no text changes, the cache, frames, resized positions, bad input."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from picscribe.errors import ConfigurationError, InputError
from picscribe.model import ClipVitConfig, EfficientNetLiteConfig, Git, GitConfig, TextCache, TextDecoderConfig
from picscribe.model.attention import PADDING_POSITION
from picscribe.model.clip_vit import ClipVit, resize_position_grid

DECODER = TextDecoderConfig(
    vocabulary_size=61, width=32, layers=3, heads=4, mlp_width=48, max_positions=32, cls_id=1, sep_id=2
)
VIT = ClipVitConfig(width=24, layers=2, heads=3, mlp_width=40, patch_size=8, image_size=32)


def tiny(frames: int = 0, seed: int = 0) -> Git:
    """A random model whose outputs vary with their inputs."""
    torch.manual_seed(seed)
    model = Git(GitConfig(VIT, DECODER, frames=frames)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def joint_forward(model: Git, pixels: Tensor, tokens: Tensor) -> Tensor:
    """The paper's formulation as an oracle: image and text (B, T) in one sequence under one mask, nothing cached."""
    decoder = model.text_decoder
    image = model.projection_norm(model.projection(model.visual_features(pixels)))
    text = decoder.embed(tokens, torch.arange(tokens.shape[1]).expand_as(tokens))
    x = torch.cat([image, text], dim=1)
    total, images = x.shape[1], image.shape[1]
    mask = torch.ones(total, total, dtype=torch.bool).tril()
    mask[:images, :images] = True
    mask[:images, images:] = False
    for layer in decoder.layers:
        query, key, value = layer.attention.project(x)
        weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf).softmax(-1)
        attended = layer.attention.out((weights @ value).transpose(1, 2).flatten(2))
        x = layer.attention_norm(x + attended)
        x = layer.mlp_norm(x + layer.down(F.gelu(layer.up(x))))
    return model.logits(x[:, images:])


@torch.no_grad()
def test_split_equals_one_sequence() -> None:
    model, pixels, tokens = tiny(), torch.randn(2, 3, 32, 32), torch.randint(0, 61, (2, 7))
    torch.testing.assert_close(model(pixels, tokens[:, None])[:, 0], joint_forward(model, pixels, tokens))


@torch.no_grad()
def test_text_never_changes_the_prefix_and_other_texts_do_not_matter() -> None:
    model, pixels = tiny(), torch.randn(1, 3, 32, 32)
    tokens = torch.randint(0, 61, (1, 3, 6))
    together = model(pixels, tokens)
    for text in range(3):
        torch.testing.assert_close(together[:, text], model(pixels, tokens[:, text : text + 1])[:, 0])


@torch.no_grad()
@pytest.mark.parametrize("texts", [1, 3])
def test_cache_equals_no_cache_at_every_step(texts: int) -> None:
    model, tokens = tiny(), torch.randint(0, 61, (2, texts, 9))
    prefix = model.encode(torch.randn(2, 3, 32, 32), room=texts * 9)
    whole = model.decode(tokens, prefix)
    cache = TextCache(prefix, texts, texts * 9)
    torch.testing.assert_close(model.decode_next(tokens[:, :, :3], cache), whole[:, :, :3])
    for step in range(3, 9):
        torch.testing.assert_close(model.decode_next(tokens[:, :, step : step + 1], cache)[:, :, 0], whole[:, :, step])


@torch.no_grad()
def test_reordered_and_widened_cache_equals_no_cache() -> None:
    model, pixels = tiny(), torch.randn(2, 3, 32, 32)
    prompts = torch.randint(0, 61, (2, 2, 3))
    position = torch.tensor([[[0, 1, 2], [0, 1, PADDING_POSITION]], [[0, 1, 2], [0, 1, 2]]])
    prefix = model.encode(pixels)
    cache = TextCache(prefix, 2, 40)
    model.decode_next(prompts, cache, position)
    source = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 1]])
    cache.reorder(source)
    lengths = torch.tensor([[3, 2], [3, 3]]).gather(1, source)
    token = torch.randint(0, 61, (2, 4, 1))
    stepped = model.decode_next(token, cache, lengths[..., None])
    for image in range(2):
        for text in range(4):
            length = int(lengths[image, text])
            history = torch.cat([prompts[image, source[image, text], :length], token[image, text]])
            alone = model.decode(history[None, None], model.encode(pixels[image : image + 1]))
            torch.testing.assert_close(stepped[image, text, 0], alone[0, 0, -1])


@torch.no_grad()
def test_cache_writes_into_the_prefix_room_and_copies_nothing() -> None:
    model = tiny()
    prefix = model.encode(torch.randn(1, 3, 32, 32), room=12)
    cache = TextCache(prefix, 4, 12)
    assert cache.prefix is prefix
    model.decode_next(torch.randint(0, 61, (1, 4, 2)), cache)
    assert [k.data_ptr() for k in cache.prefix.keys] == [k.data_ptr() for k in prefix.keys]
    assert prefix.keys[0].shape[2] == VIT.tokens + 12


@torch.no_grad()
def test_last_layer_computes_no_image_output() -> None:
    model = tiny()
    called: list[int] = []
    for index, layer in enumerate(model.text_decoder.layers):
        layer.up.register_forward_hook(lambda *_, index=index: called.append(index))
    model.encode(torch.randn(1, 3, 32, 32))
    assert called == [0, 1]


@torch.no_grad()
def test_frames_take_temporal_embeddings_in_order() -> None:
    model, frames = tiny(frames=3), torch.randn(2, 3, 3, 32, 32)
    assert model.temporal_embedding is not None
    features = model.visual_features(frames)
    for index in range(3):
        alone = model.image_encoder(frames[:, index]) + model.temporal_embedding[index]
        torch.testing.assert_close(features[:, index * VIT.tokens : (index + 1) * VIT.tokens], alone)
    assert model.visual_features(frames[:, :1]).shape == (2, VIT.tokens, VIT.width)


@pytest.mark.parametrize(
    ("frames", "shape", "words"),
    [
        (0, (1, 2, 3, 32, 32), "not a video of 2 frames"),
        (2, (1, 3, 3, 32, 32), "3 frames, but the checkpoint has 2"),
        (0, (1, 4, 32, 32), "pixels must be"),
        (0, (3, 32, 32), "pixels must be"),
    ],
)
def test_wrong_pixels_are_named(frames: int, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        tiny(frames).encode(torch.zeros(shape))


@torch.no_grad()
def test_positions_are_resized_for_another_shape() -> None:
    model = tiny()
    assert model.visual_features(torch.randn(1, 3, 32, 48)).shape == (1, 1 + 4 * 6, VIT.width)
    grid = torch.randn(16, 8)
    assert resize_position_grid(grid, 4, 4) is grid
    expected = F.interpolate(grid.T.reshape(1, 8, 4, 4), size=(4, 6), mode="bicubic", align_corners=False)
    torch.testing.assert_close(resize_position_grid(grid, 4, 6), expected[0].flatten(1).T)


@torch.no_grad()
@pytest.mark.parametrize("variant", [0, 1, 2])
def test_efficientnet_lite_gives_tokens_and_splits_anywhere(variant: int) -> None:
    torch.manual_seed(0)
    model = Git(GitConfig(EfficientNetLiteConfig(variant, 64), DECODER)).eval()
    encoder = model.image_encoder
    pixels = torch.randn(1, 3, 64, 64)
    whole = encoder(pixels)
    assert whole.shape == (1, 4, 1280)
    for blocks in (0, 1, 7, len(encoder.blocks)):
        torch.testing.assert_close(encoder.encode_from(blocks, encoder.encode_until(blocks, pixels)), whole)
    assert model.encode(torch.randn(2, 3, 70, 100)).tokens == 3 * 4


@torch.no_grad()
def test_a_vit_splits_anywhere() -> None:
    encoder, pixels = tiny().image_encoder, torch.randn(2, 3, 32, 32)
    for block in range(VIT.layers + 1):
        torch.testing.assert_close(encoder.encode_from(block, encoder.encode_until(block, pixels)), encoder(pixels))


@torch.no_grad()
def test_a_second_cache_in_the_same_room_is_an_error() -> None:
    model, tokens = tiny(), torch.randint(0, 61, (1, 1, 2))
    prefix = model.encode(torch.randn(1, 3, 32, 32), room=8)
    first = TextCache(prefix, 1, 8)
    expected = model.decode_next(tokens, first)
    second = TextCache(prefix, 1, 8)
    for use in (lambda: model.decode_next(tokens, first), lambda: first.keep(torch.tensor([0]))):
        with pytest.raises(InputError, match="another TextCache has begun on this image prefix"):
            use()
    torch.testing.assert_close(model.decode_next(tokens, second), expected)
    # Those that have their own memory live side by side.
    third, fourth = TextCache(prefix.select(torch.tensor([0])), 1, 8), TextCache(prefix, 1, 9)
    for cache in (third, fourth, second):
        model.decode_next(tokens, cache)


def test_it_is_an_ordinary_module() -> None:
    """What is learned, edited, copied, pickled and saved is what computes."""
    model, pixels, tokens = tiny(), torch.randn(2, 3, 32, 32), torch.randint(0, 61, (2, 1, 5))
    plain = {type(module) for module in model.modules() if next(module.parameters(recurse=False), None) is not None}
    assert plain <= {torch.nn.Linear, torch.nn.LayerNorm, torch.nn.Embedding, torch.nn.Conv2d, ClipVit}
    before = model(pixels, tokens)
    before.logsumexp(-1).sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in model.parameters() if parameter.any()
    )
    copied, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data *= 1.5
        after = model(pixels, tokens)
        assert not torch.allclose(after, before)
        for other in (copied, pickled):
            torch.testing.assert_close(other(pixels, tokens), before)
            other.load_state_dict(model.state_dict())
            torch.testing.assert_close(other(pixels, tokens), after)


@pytest.mark.parametrize(
    ("config", "settings", "words"),
    [
        (ClipVitConfig, {"width": 30, "heads": 4}, "width"),
        (ClipVitConfig, {"layers": 0}, "layers"),
        (ClipVitConfig, {"image_size": 8}, "smaller than one patch"),
        (EfficientNetLiteConfig, {"variant": 4}, "variant must be 0, 1 or 2"),
        (EfficientNetLiteConfig, {"image_size": 0}, "image_size"),
        (TextDecoderConfig, {"vocabulary_size": 50}, "outside the vocabulary"),
        (TextDecoderConfig, {"dropout": 1.0}, "dropout"),
        (GitConfig, {"frames": -1}, "frames"),
    ],
)
def test_impossible_sizes_are_refused(config: type, settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        config(**settings)


def test_parameter_counts_are_the_published_ones() -> None:
    """FACTS: base 177 M and large 394 M with output and word embedding stored apart... counted on the meta device."""
    with torch.device("meta"):
        base = Git(GitConfig())
        large = Git(GitConfig(ClipVitConfig(width=1024, layers=24, heads=16, mlp_width=4096, patch_size=14)))
    assert round(sum(p.numel() for p in base.parameters()) / 1e6) == 177
    assert round(sum(p.numel() for p in large.parameters()) / 1e6) == 394
    assert base.config.image_encoder.tokens == 197
    assert large.config.image_encoder.tokens == 257


def test_the_network_reads_in_one_sitting() -> None:
    folder = Path(__file__).resolve().parents[2] / "picscribe" / "model"
    assert sum(len(file.read_text().splitlines()) for file in folder.glob("*.py")) < 800

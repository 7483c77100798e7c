"""Where the network looked for each word: attention followed back through its layers, or the gradient through it.

The network's own attention does not show its weights, so its layers are walked through with one that does.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from picscribe.acceleration.int8 import is_int8
from picscribe.errors import ConfigurationError
from picscribe.generation.decoding import check_finite
from picscribe.model import ClipVitConfig, Git
from picscribe.model.attention import sees_image
from picscribe.model.clip_vit import ClipVit

Method = Literal["gradient", "rollout"]


def explain(
    model: Git, pixels: Tensor, prompt: Sequence[int], tokens: Sequence[int], method: Method = "gradient"
) -> Tensor:
    """For every one of `tokens`, said after `prompt` ([CLS] first), how much each place of the image mattered.

    `pixels` (3, height, width) or (F, 3, height, width). Returns (len(tokens), F or 1, rows, columns), each token's map
    not below 0 and with a sum of 1.

    rollout: attention of all layers multiplied, half of each what a layer passes by (Abnar and Zuidema, 2020, arXiv
    2005.00928). gradient: attention times its gradient for the token's log-probability, where that is positive, summed
    up over the layers (Chefer et al., 2021, arXiv 2103.15679).
    Raises ConfigurationError for an unknown method, and for gradients of int8 weights.
    """
    if method not in get_args(Method):
        raise ConfigurationError(f"unknown method {method!r}: choose one of {', '.join(get_args(Method))}")
    if method == "gradient" and is_int8(model):
        raise ConfigurationError(
            "int8 weights have no gradient: load the model without quantize and precision, or use rollout"
        )
    with torch.inference_mode(False), torch.set_grad_enabled(method == "gradient"):
        weight = model.projection_norm.weight
        pixels = pixels.detach().clone().to(weight.device, weight.dtype)
        frames = pixels if pixels.dim() == 4 else pixels[None]
        visual = [_encode(model, frame[None]) for frame in frames]
        features = torch.cat([features for features, _ in visual])
        if pixels.dim() == 4:
            assert model.temporal_embedding is not None
            features = features + model.temporal_embedding[: len(frames), None]
        ids = torch.tensor([*prompt, *tokens], device=weight.device)[None]
        logits, attended = _decode(model, features.flatten(0, 1)[None], ids)
        predicted = range(len(prompt) - 1, len(ids[0]) - 1)
        log_prob = logits[0, list(predicted)].float().log_softmax(-1)[range(len(tokens)), list(tokens)]
        images = features.shape[0] * features.shape[1]
        maps = []
        for place, position in enumerate(predicted):
            row = images + position
            if method == "gradient":
                layers = [*attended, *(a for _, attention in visual for a in attention)]
                gradients = torch.autograd.grad(log_prob[place], layers, retain_graph=True)
                weighed = [(a * g).clamp(min=0).mean(1)[0] for a, g in zip(layers, gradients, strict=True)]
            else:
                weighed = [a.mean(1)[0] for a in [*attended, *(a for _, attention in visual for a in attention)]]
            text = _follow(weighed[: len(attended)], row, method)[:images].view(len(frames), -1)
            maps.append(_to_pixels(text, weighed[len(attended) :], len(frames), method))
        check_finite(model, torch.stack(maps))
    return _as_grids(torch.stack(maps).detach(), model, frames)


def _follow(layers: Sequence[Tensor], row: int, method: Method) -> Tensor:
    """From attention (N, N) of each layer to what one row of the last is made of, (N,)."""
    start = torch.zeros(len(layers[0]), device=layers[0].device, dtype=torch.float32)
    start[row] = 1.0
    for attention in reversed(layers):
        passed = start @ attention.float()
        start = 0.5 * (start + passed) if method == "rollout" else start + passed
    return start


def _to_pixels(text: Tensor, layers: Sequence[Tensor], frames: int, method: Method) -> Tensor:
    """What image tokens mattered (F, I), followed through the image encoder's layers, frame by frame, too."""
    if not layers:
        return text
    each = len(layers) // frames
    followed = []
    for number, mattered in enumerate(text):
        for attention in reversed(layers[number * each : (number + 1) * each]):
            passed = mattered @ attention.float()
            mattered = 0.5 * (mattered + passed) if method == "rollout" else mattered + passed
        followed.append(mattered)
    return torch.stack(followed)


def _as_grids(maps: Tensor, model: Git, frames: Tensor) -> Tensor:
    """(words, F, I) → (words, F, rows, columns) with sums of 1; the class token has no place."""
    config = model.config.image_encoder
    if isinstance(config, ClipVitConfig):
        maps = maps[..., 1:]
        rows, columns = (side // config.patch_size for side in frames.shape[-2:])
    else:
        rows, columns = (math.ceil(side / config.stride) for side in frames.shape[-2:])
    maps = maps.clamp(min=0)
    total = maps.sum((1, 2), keepdim=True)
    even = torch.full_like(maps, 1 / maps[0].numel())
    return torch.where(total > 0, maps / total.clamp(min=1e-30), even).view(len(maps), len(frames), rows, columns)


class _Watcher:
    """Attention that keeps its weights (B, H, T, T), layer after layer; where wanted, with gradients."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `attention.attend`."""
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        weights = (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)
        if torch.is_grad_enabled() and not weights.requires_grad:
            weights.requires_grad_(True)
        self.weights.append(weights)
        return (weights @ value).transpose(1, 2).flatten(2)


def _encode(model: Git, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Features (1, I, D) of an image, and the attention of its encoder's layers; a convolutional one has none."""
    encoder = model.image_encoder
    if not isinstance(encoder, ClipVit):
        return encoder(pixels).detach(), []
    watcher = _Watcher()
    return encoder.encode_from(0, encoder.encode_until(0, pixels), watcher.attend), watcher.weights


def _decode(model: Git, features: Tensor, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits (1, T, V) of a text over image features (1, I, D), and the layers' attention (1, H, I + T, I + T)."""
    image = model.project(features)
    texts, images = ids.shape[1], image.shape[1]
    position = torch.arange(texts, device=ids.device)[None]
    x = torch.cat([image, model.text_decoder.embed(ids, position)], dim=1)
    causal = torch.ones((texts, texts), dtype=torch.bool, device=ids.device).tril()
    mask = x.new_ones((images + texts, images + texts), dtype=torch.bool)
    mask[:images, images:] = False
    mask[images:] = sees_image(causal[None, None], images)[0, 0]
    watcher = _Watcher()
    hidden = model.text_decoder.walk(x, lambda _, query, key, value: watcher.attend(query, key, value, mask))
    return model.logits(hidden[:, images:]), watcher.weights

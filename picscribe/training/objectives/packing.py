"""All captions of an image over one image prefix: each caption sees only itself and the image.

The image is encoded once. The gradient is that of separate image–caption pairs; the cost is one image and
its captions instead of as many of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from picscribe.errors import InputError
from picscribe.model import Git, ImagePrefix
from picscribe.model.attention import PADDING_POSITION
from picscribe.text.prompts import TrainingExample


@dataclass(frozen=True)
class PackedTexts:
    """The texts of B images, each image's one after the other in a row: all (B, 1, T) but the targets.

    `tokens`, `position` and `text` are as the decoder takes them; `predicts` is True where the token after is a target
    of the loss, `targets` (N,) are those tokens in order.
    """

    tokens: Tensor
    position: Tensor
    text: Tensor
    predicts: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> "PackedTexts":
        """The same on a device."""
        return PackedTexts(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


def pack(texts: Sequence[Sequence[TrainingExample]]) -> PackedTexts:
    """Put each image's texts into one row, padded at its end; images may have different numbers of texts."""
    if not texts or not all(texts):
        raise InputError("every image needs at least one text to train on: add one, or remove the image")
    # A text's last token, [SEP], is predicted but predicts nothing, so it takes no place.
    width = max(sum(len(text.tokens) - 1 for text in of_image) for of_image in texts)
    tokens, position, number, predicts, targets = [], [], [], [], []
    for of_image in texts:
        inputs = [token for text in of_image for token in text.tokens[:-1]]
        padding = width - len(inputs)
        tokens.append(inputs + [0] * padding)
        places = [place for text in of_image for place in range(len(text.tokens) - 1)]
        position.append(places + [PADDING_POSITION] * padding)
        number.append([k for k, text in enumerate(of_image) for _ in text.tokens[:-1]] + [0] * padding)
        predicts.append([wanted for text in of_image for wanted in text.predict[1:]] + [False] * padding)
        targets += [
            token
            for text in of_image
            for token, wanted in zip(text.tokens[1:], text.predict[1:], strict=True)
            if wanted
        ]
    rows = [torch.tensor(part)[:, None] for part in (tokens, position, number, predicts)]
    return PackedTexts(rows[0], rows[1], rows[2], rows[3], torch.tensor(targets))


def hide_words(texts: PackedTexts, share: float, unknown: int) -> PackedTexts:
    """The texts with a random share of their input tokens replaced by the `unknown` one, but not a text's first: the
    next word must then be found in the image. Targets stay."""
    if not share:
        return texts
    hidden = (torch.rand(texts.tokens.shape, device=texts.tokens.device) < share) & (texts.position > 0)
    return replace(texts, tokens=texts.tokens.masked_fill(hidden, unknown))


def predict_logits(model: Git, prefix: ImagePrefix, texts: PackedTexts) -> Tensor:
    """Logits (N, V) where a target is predicted; elsewhere the vocabulary projection is not computed."""
    hidden = model.decode(texts.tokens, prefix, position=texts.position, text=texts.text)
    return model.logits(hidden[texts.predicts])

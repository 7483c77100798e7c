"""What one process computes at a time, on the device."""

from dataclasses import dataclass

import torch
from torch import Tensor

from picscribe.text.prompts import TrainingExample
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.objectives.packing import PackedTexts, pack


@dataclass(frozen=True)
class Work:
    """A part on the device: images, packed texts, and where they were sampled what each token is worth.

    features: the image encoder's, where they are known from sampling. real: 0 for a part
    without an image, for which one stands in that counts nothing.
    """

    pixels: Tensor
    texts: PackedTexts
    advantage: Tensor | None = None
    features: Tensor | None = None
    real: float = 1.0

    @property
    def count(self) -> int:
        """Tokens that are predicted."""
        return int(self.texts.predicts.sum() * self.real)


def nothing_to_do(pixels: Tensor, tokenizer: Tokenizer, sampled: bool) -> Work:
    """For a part without a single photo, a black one that counts nothing: every process takes part in every step."""
    text = pack([[TrainingExample((tokenizer.cls_id, tokenizer.sep_id), (False, True))]])
    advantage = torch.zeros(1, device=pixels.device) if sampled else None
    return Work(pixels.new_zeros((1, *pixels.shape[1:])), text.to(pixels.device), advantage, real=0.0)

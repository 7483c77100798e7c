"""The network as it is trained: pixels and packed texts in, a loss out; what data-parallel wrappers wrap."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from picscribe.model import Git
from picscribe.text.prompts import TrainingExample
from picscribe.text.tokenizer import Tokenizer
from picscribe.training.objectives.packing import PackedTexts, hide_words, pack, predict_logits
from picscribe.training.recipe import Recipe


@dataclass(frozen=True)
class LossInputs:
    """A micro-batch as the objective takes it: images (B, …), their packed texts, on the device.

    advantage: of sampled texts, what each of the N predicted tokens is worth. features: the image encoder's (B, I, D),
    where they are known from sampling. weight: 0 for a blank image that stands in for a micro-batch without any.
    """

    pixels: Tensor
    texts: PackedTexts
    advantage: Tensor | None = None
    features: Tensor | None = None
    weight: float = 1.0

    def count_tokens(self) -> int:
        """Predicted tokens, those of a blank image not counted."""
        return int(self.texts.predicts.sum() * self.weight)


def make_blank_inputs(pixels: Tensor, tokenizer: Tokenizer, sampled: bool) -> LossInputs:
    """For a micro-batch without a photo, a black one that counts nothing: every process takes part in every step."""
    text = pack([[TrainingExample((tokenizer.cls_id, tokenizer.sep_id), (False, True))]])
    advantage = torch.zeros(1, device=pixels.device) if sampled else None
    return LossInputs(pixels.new_zeros((1, *pixels.shape[1:])), text.to(pixels.device), advantage, weight=0.0)


def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Mean KL divergence from smoothed targets to the model: logits (N, V), targets (N,) → a scalar.

    The target word has probability 1 − smoothing, the other V − 1 words share the rest, as in the original code; it
    differs from cross-entropy with the same targets by their entropy, so a perfect model has loss 0.
    """
    vocabulary = logits.shape[-1]
    log_probs = F.log_softmax(logits.float(), dim=-1)
    other = smoothing / (vocabulary - 1)
    target_log_prob = log_probs.gather(-1, targets[:, None])[:, 0]
    cross_entropy = -(1 - smoothing - other) * target_log_prob - other * log_probs.sum(-1)
    entropy = -(1 - smoothing) * math.log(1 - smoothing)
    if smoothing:
        entropy -= smoothing * math.log(other)
    return cross_entropy.mean() - entropy


class Objective(nn.Module):
    """Sums, not means: what one process sums over its images adds up with what others do."""

    def __init__(
        self,
        model: Git,
        *,
        label_smoothing: float = 0.1,
        activation_checkpointing: bool = False,
        image_dropout: float = 0.0,
        word_dropout: float = 0.0,
        unknown_id: int = 0,
        never_sampled: Sequence[int] = (),
        kept_blocks: int | None = None,
    ) -> None:
        """kept_blocks: pixels are not pixels but the features after this many frozen blocks of the image encoder."""
        super().__init__()
        self.model = model
        self.label_smoothing, self.image_dropout = label_smoothing, image_dropout
        self.word_dropout, self.unknown_id = word_dropout, unknown_id
        self.never_sampled, self.kept_blocks = list(never_sampled), kept_blocks
        if activation_checkpointing:
            for name, module in model.named_modules():
                if name.rpartition(".")[0].endswith((".blocks", ".layers")):
                    _checkpoint_activations(module)

    def forward(
        self, pixels: Tensor, texts: PackedTexts, advantage: Tensor | None = None, features: Tensor | None = None
    ) -> Tensor:
        """The loss summed over the predicted tokens of images (B, …) and their texts.

        `features` (B, I, D), where they are known already, are what `encode` gives for the pixels.

        With `advantage` (N,), one a predicted token, the sum of advantage times minus the token's log-probability,
        whose gradient is that of REINFORCE for samples; without, or where it is not a number, the smoothed loss of
        people's words. A sample's probability is that among the tokens but `never_sampled`.
        """
        features = self.encode(pixels) if features is None else features
        if self.model.training:
            texts = hide_words(texts, self.word_dropout, self.unknown_id)
        logits = predict_logits(self.model, self.model.prefix_of(features), texts)
        if advantage is None:
            return self._sum_loss(logits, texts.targets)
        sampled = ~advantage.isnan()
        # Among what could be drawn: else what never is, and so never corrected, gathers the probability of bad samples.
        never = torch.tensor(self.never_sampled, dtype=torch.long, device=logits.device)
        chosen = logits[sampled].float().index_fill(-1, never, -math.inf).log_softmax(-1)
        log_prob = chosen.gather(-1, texts.targets[sampled, None])[:, 0]
        return self._sum_loss(logits[~sampled], texts.targets[~sampled]) - (advantage[sampled] * log_prob).sum()

    def _sum_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The smoothed loss summed over N targets, of logits (N, V)."""
        return smoothed_loss(logits, targets, self.label_smoothing) * len(targets) if len(targets) else logits.sum()

    def encoder_learns(self) -> bool:
        """Whether anything before the projection does."""
        names = ("image_encoder.", "temporal_embedding")
        return any(p.requires_grad for name, p in self.model.named_parameters() if name.startswith(names))

    def encode(self, pixels: Tensor) -> Tensor:
        """Features (B, I, D) of pixels, or where `kept_blocks` is set, of the features after those blocks.

        While the model learns, each image keeps a random part of its features, as many as `image_dropout` leaves.
        """
        if self.kept_blocks is None:
            features = self.model.visual_features(pixels)
        else:
            features = self.model.image_encoder.encode_from(self.kept_blocks, pixels.float())
        return hide_features(features, self.image_dropout) if self.model.training else features


def make_objective(recipe: Recipe, model: Git, tokenizer: Tokenizer) -> Objective:
    """The objective that a recipe describes."""
    weights = recipe.weights
    frozen = weights.frozen_blocks or len(model.image_encoder.blocks)
    return Objective(
        model,
        label_smoothing=recipe.optimisation.label_smoothing,
        activation_checkpointing=weights.activation_checkpointing,
        image_dropout=weights.image_dropout,
        word_dropout=weights.word_dropout,
        unknown_id=tokenizer.unk_id,
        never_sampled=tokenizer.never_written,
        kept_blocks=frozen if recipe.image.views else None,
    )


def hide_features(features: Tensor, share: float) -> Tensor:
    """Each image's features without a random share of them: (B, I, D) → (B, round(I * (1 - share)), D), in their
    order, at least one."""
    if not share:
        return features
    images, count, width = features.shape
    kept = max(1, round(count * (1 - share)))
    chosen = torch.rand(images, count, device=features.device).topk(kept).indices.sort(1).values
    return features.gather(1, chosen[..., None].expand(-1, -1, width))


def _checkpoint_activations(module: nn.Module) -> None:
    """Forget what is between the module's input and output, and compute it again when gradients are asked for."""
    module.forward = partial(_compute_again, module.forward)


def _compute_again(function: Callable[..., Any], *inputs: Tensor) -> Any:
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False)

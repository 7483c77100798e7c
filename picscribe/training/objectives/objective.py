"""The network as it is trained: pixels and packed texts in, a loss out; what data-parallel wrappers wrap."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from picscribe.model import Git
from picscribe.training.objectives.loss import smoothed_loss
from picscribe.training.objectives.packing import PackedTexts, hide_words, predicted_logits


class Objective(nn.Module):
    """Sums, not means: what one process sums over its images adds up with what others do."""

    def __init__(
        self,
        model: Git,
        label_smoothing: float,
        activation_checkpointing: bool,
        image_dropout: float = 0.0,
        temperature: float = 1.0,
        never_sampled: Sequence[int] = (),
        word_dropout: float = 0.0,
        unknown: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing, self.image_dropout, self.temperature = label_smoothing, image_dropout, temperature
        self.never_sampled = list(never_sampled)
        self.word_dropout, self.unknown = word_dropout, unknown
        self.kept_blocks: int | None = None
        if activation_checkpointing:
            for name, module in model.named_modules():
                if name.rpartition(".")[0].endswith((".blocks", ".layers")):
                    _checkpoint_activations(module)

    def forward(
        self, pixels: Tensor, texts: PackedTexts, advantage: Tensor | None = None, features: Tensor | None = None
    ) -> Tensor:
        """The loss summed over the predicted tokens of images (B, …) and their texts.

        `features` (B, I, D), where they are known already, are what `see` makes of the pixels.

        With `advantage` (N,), one a predicted token, the sum of advantage times minus the token's log-probability,
        whose gradient is that of REINFORCE for samples of `temperature`; without, or where it is not a number, the
        smoothed loss of people's words. A sample's probability is that among the tokens but `never_sampled`.
        """
        features = self.see(pixels) if features is None else features
        if self.model.training:
            texts = hide_words(texts, self.word_dropout, self.unknown)
        logits = predicted_logits(self.model, self.model.prefix_of(features), texts)
        if advantage is None:
            return self._of_words(logits, texts.targets)
        sampled = ~advantage.isnan()
        # Among what could be drawn: else what never is, and so never corrected, gathers the probability of bad samples.
        never = torch.tensor(self.never_sampled, dtype=torch.long, device=logits.device)
        drawable = logits[sampled].float().index_fill(-1, never, -math.inf)
        chosen = (drawable / self.temperature).log_softmax(-1)
        log_prob = chosen.gather(-1, texts.targets[sampled, None])[:, 0]
        return self._of_words(logits[~sampled], texts.targets[~sampled]) - (advantage[sampled] * log_prob).sum()

    def _of_words(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The smoothed loss summed over N targets, of logits (N, V)."""
        return smoothed_loss(logits, targets, self.label_smoothing) * len(targets) if len(targets) else logits.sum()

    def encoder_learns(self) -> bool:
        """Whether anything before the projection does."""
        names = ("image_encoder.", "temporal_embedding")
        return any(p.requires_grad for name, p in self.model.named_parameters() if name.startswith(names))

    def see(self, pixels: Tensor) -> Tensor:
        """Features (B, I, D) of pixels, or where `kept_blocks` is set, of what so many blocks have made of them.

        While the model learns, of each image only as many, drawn anew, as `image_dropout` leaves.
        """
        if self.kept_blocks is None:
            features = self.model.visual_features(pixels)
        else:
            features = self.model.image_encoder.encode_from(self.kept_blocks, pixels.float())
        return hide_part(features, self.image_dropout) if self.model.training else features


def hide_part(features: Tensor, hidden: float) -> Tensor:
    """Each image's features without a share of them, drawn anew: (B, I, D) → (B, round(I * (1 - hidden)), D), in their
    order, at least one."""
    if not hidden:
        return features
    images, count, width = features.shape
    kept = max(1, round(count * (1 - hidden)))
    chosen = torch.rand(images, count, device=features.device).topk(kept).indices.sort(1).values
    return features.gather(1, chosen[..., None].expand(-1, -1, width))


def _checkpoint_activations(module: nn.Module) -> None:
    """Forget what is between the module's input and output, and compute it again when gradients are asked for."""
    module.forward = partial(_again, module.forward)


def _again(function: Callable[..., Any], *inputs: Tensor) -> Any:
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False)

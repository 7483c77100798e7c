"""A smaller checkpoint with EfficientNet-Lite: the head of each image encoder makes fewer numbers of a cell.

    python -m proofs.narrow_encoders runs/nano-cider/best flickr8k/ --features 864 --output runs/narrow

Many of the 1,280 say nearly the same. One after the other those are left out whose loss the others make good best
(Optimal Brain Surgeon, Hassibi and Stork, 1993, for the projection as a least-squares problem over the cells of
training photos), and the projection is fitted anew to what remains. Printed is what share of its variance is missed.
Blocks stay as they are, so that kept views serve the narrow one too.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from picscribe import checkpoints
from picscribe.checkpoints import Checkpoint
from picscribe.datasets import load_examples
from picscribe.media.images import open_image
from picscribe.model import EfficientNetLiteConfig, Git
from picscribe.model.efficientnet_lite import EfficientNetLite

ROUNDS = 32
"""Of leaving some out; after each what is left is fitted anew."""
RIDGE = 1e-4
"""Of the mean variance, so that numbers that are always 0 do no harm."""


@torch.no_grad()
def moments(model: Git, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of the visual features of all cells, in float64."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for pixels in batches:
        features = model.visual_features(pixels).flatten(0, 1).double()
        count, total, products = count + len(features), total + features.sum(0), products + features.T @ features
    mean = total / count
    return mean, products / count - mean[:, None] * mean


def fit(weight: Tensor, covariance: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The projection (outputs, kept) that makes of the kept features what `weight` (outputs, D) makes of all, and how
    much more it errs without each of them (kept,)."""
    inner = covariance[kept][:, kept]
    inverse = torch.linalg.inv(inner + RIDGE * covariance.diagonal().mean() * torch.eye(len(kept)))
    fitted = weight @ covariance[:, kept] @ inverse
    return fitted, fitted.square().sum(0) / inverse.diagonal()


def choose(weight: Tensor, covariance: Tensor, members: int, features: int) -> Tensor:
    """Which `features` of each of the `members` stay: indices into D, in order."""
    kept = torch.arange(weight.shape[1])
    each = len(kept) // members
    for left in reversed(range(ROUNDS)):
        stay = features + (each - features) * left // ROUNDS
        _, losses = fit(weight, covariance, kept)
        best = [losses[part].argsort(descending=True)[:stay] + start for part, start in _parts(len(kept), members)]
        kept = kept[torch.cat(best).sort().values]
    return kept


def _parts(length: int, members: int) -> list[tuple[slice, int]]:
    each = length // members
    return [(slice(start, start + each), start) for start in range(0, length, each)]


def narrowed(model: Git, mean: Tensor, covariance: Tensor, features: int) -> tuple[Git, float]:
    """The model with so many features of each encoder, and what share of the projection's variance it misses."""
    config = model.config.image_encoder
    assert isinstance(config, EfficientNetLiteConfig), "a ViT has no head"
    members = [name for name, module in model.named_modules() if isinstance(module, EfficientNetLite)]
    weight = model.projection.weight.detach().double()
    kept = choose(weight, covariance, len(members), features)
    fitted, _ = fit(weight, covariance, kept)
    weights = model.state_dict()
    weights["projection.weight"] = fitted.float()
    weights["projection.bias"] = weights["projection.bias"] + (weight @ mean - fitted @ mean[kept]).float()
    for name, own in zip(members, kept.view(len(members), -1) % (len(mean) // len(members)), strict=True):
        for part in ("head.weight", "head.bias"):
            weights[f"{name}.{part}"] = weights[f"{name}.{part}"][own]
        weights[f"{name}.position_embedding"] = weights[f"{name}.position_embedding"][:, own]
    narrow = Git(replace(model.config, image_encoder=replace(config, features=features))).eval()
    narrow.load_state_dict(weights)
    missed = ((fitted @ covariance[kept] - weight @ covariance) @ weight.T).trace().neg()
    return narrow, float(missed / (weight @ covariance @ weight.T).trace())


def batches_of(checkpoint: Checkpoint, data: Path, photos: int) -> Iterable[Tensor]:
    """Pixels of the first training photos, 16 at a time."""
    _, examples = load_examples(data, None, "train")
    for start in range(0, min(photos, len(examples)), 16):
        chosen = examples[start : start + 16]
        yield torch.stack([checkpoint.preprocessing(open_image(example.image())) for example in chosen])


def main() -> None:
    """Write the narrow checkpoint to a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("data", type=Path, help="training photos")
    parser.add_argument("--features", type=int, required=True)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    checkpoint = checkpoints.load(arguments.checkpoint)
    found = moments(checkpoint.model, batches_of(checkpoint, arguments.data, arguments.photos))
    model, missed = narrowed(checkpoint.model, *found, arguments.features)
    print(f"missed of the projection's variance: {missed:.4f}")
    record = json.loads((checkpoint.folder / "training.json").read_text(encoding="utf-8"))
    changed = {"features": arguments.features, "photos": arguments.photos, "missed": missed}
    checkpoints.save(replace(checkpoint, model=model), arguments.output, torch.float32, {**record, "narrowed": changed})


if __name__ == "__main__":
    main()

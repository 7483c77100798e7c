"""A tiny network with random weights, ready to caption in milliseconds: the one builder of tests of the Python API."""

from collections.abc import Sequence
from pathlib import Path

import torch

from picscribe import Scribe
from picscribe.checkpoints import Checkpoint
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import ClipVitConfig, EfficientNetLiteConfig, Git, GitConfig, TextDecoderConfig
from picscribe.text.tokenizer import Tokenizer

ENCODER = ClipVitConfig(width=16, layers=1, heads=2, mlp_width=32, patch_size=16, image_size=32)
PREPROCESSING = Preprocessing(size=32)


def make_scribe(
    words: Sequence[str],
    *,
    seed: int = 3,
    scale: float = 12.0,
    preprocessing: Preprocessing = PREPROCESSING,
    encoder: ClipVitConfig | EfficientNetLiteConfig = ENCODER,
    frames: int = 0,
    name: str = "tiny",
) -> Scribe:
    """A network with a vocabulary of `words`, its matrices `scale` times as large as training would start with.

    At a scale of 1 it says much the same of every photo; at 12 different photos get different captions.
    """
    tokenizer = Tokenizer(words)
    torch.manual_seed(seed)
    decoder = TextDecoderConfig(
        vocabulary_size=len(words), width=16, layers=2, heads=2, mlp_width=32, max_positions=64,
        pad_id=tokenizer.pad_id, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id,
    )  # fmt: skip
    model = Git(GitConfig(encoder, decoder, frames=frames)).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(scale)
    return Scribe(Checkpoint(model, tokenizer, preprocessing, name, Path("nowhere")))

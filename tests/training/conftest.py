"""What tests of training begin from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from picscribe.checkpoints import Checkpoint, save
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import ClipVitConfig, EfficientNetLiteConfig, Git, GitConfig, TextDecoderConfig
from picscribe.text.tokenizer import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="session")
def save_start() -> Callable[..., Path]:
    return _save_start


def _save_start(folder: Path, words: Sequence[str], encoder: str = "vit") -> Path:
    """A checkpoint with random weights that sees photos of 32 pixels, by a ViT or EfficientNet-Lite."""
    torch.manual_seed(0)
    tokenizer = Tokenizer([*SPECIAL, *words])
    decoder = TextDecoderConfig(
        vocabulary_size=tokenizer.vocabulary_size, width=32, layers=2, heads=4, mlp_width=64, max_positions=64,
        tie_output=True, pad_id=tokenizer.pad_id, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id,
    )  # fmt: skip
    vit = ClipVitConfig(width=32, layers=2, heads=4, mlp_width=64, patch_size=16, image_size=32)
    model = Git(GitConfig(vit if encoder == "vit" else EfficientNetLiteConfig(0, 32), decoder)).eval()
    preprocessing = Preprocessing(size=32, mode="center_crop" if encoder == "vit" else "square")
    save(Checkpoint(model, tokenizer, preprocessing, "start", folder), folder)
    return folder

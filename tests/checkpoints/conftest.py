"""Small checkpoints with random weights, and the folders that they make."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from picscribe.checkpoints import Checkpoint, save, save_original
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import ClipVitConfig, EfficientNetLiteConfig, Git, GitConfig, TextDecoderConfig
from picscribe.text.tokenizer import Tokenizer

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"##{c}" for c in "aeiou"),
    "dog",
]

MakeCheckpoint = Callable[..., Checkpoint]


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> MakeCheckpoint:
    """Builds a tiny checkpoint with random weights; keywords change it."""

    def make(
        *,
        frames: int = 0,
        tied: bool = False,
        lite: int | None = None,
        preprocessing: Preprocessing | None = None,
        seed: int = 0,
    ) -> Checkpoint:
        torch.manual_seed(seed)
        encoder = (
            EfficientNetLiteConfig(lite, 64)
            if lite is not None
            else ClipVitConfig(width=48, layers=2, heads=4, mlp_width=96, patch_size=8, image_size=32)
        )
        decoder = TextDecoderConfig(
            vocabulary_size=len(WORDS), width=32, layers=2, heads=4, mlp_width=64, max_positions=40,
            tie_output=tied, cls_id=2, sep_id=3,
        )  # fmt: skip
        model = Git(GitConfig(encoder, decoder, frames)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.1)
        size = encoder.image_size
        return Checkpoint(model, Tokenizer(WORDS), preprocessing or Preprocessing(size), "tiny", tmp_path / "nowhere")

    return make


@pytest.fixture
def tiny_folder(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> Path:
    """A whole, small checkpoint in Hugging Face's layout."""
    save(make_checkpoint(), tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def original_folder(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> Path:
    """A whole, small checkpoint in the original's layout."""
    checkpoint = make_checkpoint(tied=True)
    save_original(checkpoint, tmp_path / "original")
    return tmp_path / "original"

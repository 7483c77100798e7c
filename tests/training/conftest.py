"""What tests of training begin from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from picscribe.checkpoints import Checkpoint, save
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import ClipVitConfig, EfficientNetLiteConfig, Git, GitConfig, TextDecoderConfig
from picscribe.text.tokenizer import Tokenizer
from picscribe.training import Recipe, train
from picscribe.training.recipe import DataSettings, OptimisationSettings, Source, ValidationSettings
from tests.training.tiny_runs import COLOURS, SPECIAL, WORDS, silent


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


@pytest.fixture(scope="session")
def folder(save_start: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen photos with two captions each in text files beside them, and a tiny model to start from: read only."""
    folder = tmp_path_factory.mktemp("fine tuning")
    (folder / "photos").mkdir()
    names = list(COLOURS)
    for number in range(16):
        colour, ground = names[number % 4], names[(number // 4 + number + 1) % 4]
        image = Image.new("RGB", (48, 40), COLOURS[ground])
        image.paste(COLOURS[colour], (12, 8, 36, 32))
        image.save(folder / "photos" / f"{number:02}.png")
        (folder / "photos" / f"{number:02}.txt").write_text(
            f"a {colour} square on {ground} ground\na {colour} square\n"
        )
    save_start(folder / "start", WORDS)
    return folder


@pytest.fixture(scope="session")
def recipe(folder: Path) -> Recipe:
    """Twelve images to learn from, four a step."""
    return Recipe(
        start=str(folder / "start"),
        data=DataSettings((Source(str(folder / "photos")),), held_out=0.25),
        optimisation=OptimisationSettings(
            steps=9, batch_images=4, learning_rate=3e-3, encoder_learning_rate=1e-3, warmup_steps=2
        ),
        validation=ValidationSettings(every_steps=3, beams=2, max_new_tokens=8),
    )


@pytest.fixture(scope="session")
def whole_run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to its end, dropout and all: read only."""
    pytest.importorskip("accelerate")
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(recipe, run, report=silent)
    return run

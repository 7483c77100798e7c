"""Data that does not travel with the project (a test that needs what is not there skips), a tiny model, photos."""

import os
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from picscribe import checkpoints
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import ClipVitConfig, Git, GitConfig, TextDecoderConfig
from picscribe.text.tokenizer import Tokenizer

# Networks here are so small that torch's threads wait for each other longer than they compute.
# OMP_NUM_THREADS=2 runs the tests in two all the same.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# A shell's background job, and what it starts, is deaf to Ctrl-C, which tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        pytest.skip(f"{what} is not here")
    return path


def golden_folder() -> Path:
    """Folder of golden results; the environment variable PICSCRIBE_GOLDEN names another."""
    return Path(os.environ.get("PICSCRIBE_GOLDEN") or SHARED / "golden")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Tensors and search results that the original code produced."""
    return _existing(golden_folder(), "the folder of golden results (set PICSCRIBE_GOLDEN)")


@pytest.fixture(scope="session")
def flickr8k() -> Path:
    """Folder with dataset_flickr8k.json and images/."""
    return _existing(SHARED / "data" / "flickr8k", "Flickr8k")


@pytest.fixture(scope="session")
def bert_vocabulary() -> Path:
    """BERT's uncased vocabulary, a word a line."""
    return _existing(SHARED / "data" / "bert-base-uncased-vocab.txt", "BERT's vocabulary")


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "the", "dog", "cat", "man", "runs", "sits", "on", "grass", "in", "red", "with", "and", "of"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a checkpoint that captions in milliseconds, nonsense that depends on the photo."""
    tokenizer = Tokenizer(WORDS)
    torch.manual_seed(3)
    model = Git(
        GitConfig(
            ClipVitConfig(width=16, layers=1, heads=2, mlp_width=32, patch_size=16, image_size=32),
            TextDecoderConfig(
                vocabulary_size=len(WORDS),
                width=16,
                layers=1,
                heads=2,
                mlp_width=32,
                max_positions=64,
                pad_id=tokenizer.pad_id,
                cls_id=tokenizer.cls_id,
                sep_id=tokenizer.sep_id,
            ),
        )
    ).eval()
    # At the scale that training starts from, all photos would get the same caption.
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(12)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    checkpoints.save(checkpoints.Checkpoint(model, tokenizer, Preprocessing(size=32), "tiny", folder), folder)
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 12 photos, photo1.png to photo12.png, each of other colours."""
    folder = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(1)
    for number in range(1, 13):
        pixels = torch.randint(0, 256, (2, 3, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).resize((70, 50)).save(folder / f"photo{number}.png")
    return folder


TRIED_TWICE = ("bulk", "serving", "training")
"""Folders of tests with a browser, killed processes, time limits: what fails once on a busy machine is run once more,
and pytest's summary names it as rerun."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        if item.path.relative_to(tests).parts[0] in TRIED_TWICE:
            item.add_marker(pytest.mark.flaky(reruns=1))

"""Where tests find data that does not travel with the project; a test that needs what is not there skips."""

import os
from pathlib import Path

import pytest

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

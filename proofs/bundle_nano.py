"""Puts what the three steps of nano ended with into the package, as float16, with the recipes of all three beside it.

    picscribe train recipes/nano-flickr8k.yaml --output runs/nano
    picscribe train recipes/nano-cider.yaml --output runs/nano-cider
    python -m proofs.photo_questions
    python -m proofs.bundle_nano

The card, README.md, is written by hand: put the new figures there; `pytest -m slow tests/test_nano.py` checks them.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch

from picscribe import checkpoints
from proofs.photo_questions import NAME, START
from proofs.proving import RUNS

WORDS, BUNDLED = Path("runs/nano/best"), Path("picscribe/bundled/nano")


def main() -> None:
    """Write the checkpoint's files over those of the package."""
    last = RUNS / NAME / "run" / "best"
    steps = [json.loads((folder / "training.json").read_text()) for folder in (WORDS, Path(START), last)]
    record = {**steps[-1], "before": steps[:-1]}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "nano"
        checkpoints.save(checkpoints.load(str(last)), folder, torch.float16, record)
        for file in folder.iterdir():
            shutil.copy(file, BUNDLED / file.name)


if __name__ == "__main__":
    main()

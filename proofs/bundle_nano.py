"""Puts a trained nano into the package, as float16, with the recipes of all steps that led to it beside it.

    picscribe train recipes/nano-flickr8k.yaml --output runs/nano
    picscribe train recipes/nano-cider.yaml --output runs/nano-cider
    python -m proofs.bundle_nano runs/nano/best runs/nano-cider/best

Named are the checkpoints of its steps, the last of which is put there. The card, README.md, is written by hand: put the
new figures there, `pytest -m slow tests/test_nano.py` checks them.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import torch

from picscribe import checkpoints

BUNDLED = Path("picscribe/bundled/nano")


def main() -> None:
    """Write the checkpoint's files over those of the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    steps: list[Path] = parser.parse_args().checkpoints
    *before, last = [json.loads((folder / "training.json").read_text(encoding="utf-8")) for folder in steps]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "nano"
        checkpoints.save(checkpoints.load(str(steps[-1])), folder, torch.float16, {**last, "before": before})
        for file in folder.iterdir():
            shutil.copy(file, BUNDLED / file.name)


if __name__ == "__main__":
    main()

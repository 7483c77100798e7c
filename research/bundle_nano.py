"""Puts a trained nano into the package, as float16, with the recipes of all steps that led to it beside it.

    picscribe train recipes/nano-wide.yaml
    picscribe train recipes/nano-wide-cider.yaml
    python -m research.bundle_nano runs/nano-wide/best runs/nano-wide-cider/best

Name the checkpoints of all steps; the last one goes into the package. With --size it sees photos of another size than
it learned from: random views show things larger than whole photos do (Touvron et al., 2019, arXiv 1906.06423). The
card, README.md, is written by hand: put the new figures there, `pytest -m slow tests/test_nano.py` checks them.
"""

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from picscribe import checkpoints
from picscribe.checkpoints import Checkpoint
from picscribe.model import Git
from picscribe.model.attention import resize_position_grid

BUNDLED = Path("picscribe/bundled/nano")


def resized(checkpoint: Checkpoint, size: int) -> Checkpoint:
    """The checkpoint as it is, for photos of `size` × `size` pixels, the positions of its cells resized once."""
    config = checkpoint.model.config
    encoder = replace(config.image_encoder, image_size=size)
    model = Git(replace(config, image_encoder=encoder)).eval()
    weights: dict[str, Any] = checkpoint.model.state_dict()
    side = encoder.grid
    for name in weights:
        if name.startswith("image_encoder.") and name.endswith("position_embedding"):
            weights[name] = resize_position_grid(weights[name], side, side)
    model.load_state_dict(weights)
    return replace(checkpoint, model=model, preprocessing=replace(checkpoint.preprocessing, size=size))


def main() -> None:
    """Write the checkpoint's files over those of the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--size", type=int, help="pixels that photos come to, where it is not that of training")
    arguments = parser.parse_args()
    steps: list[Path] = arguments.checkpoints
    records = [json.loads((folder / "training.json").read_text(encoding="utf-8")) for folder in steps]
    # A step that began from a bundled nano says itself what was before it.
    before = [step for record in records for step in (*record.pop("before", ()), record)]
    checkpoint = checkpoints.load(str(steps[-1]))
    if arguments.size:
        checkpoint = resized(checkpoint, arguments.size)
    record = {**before.pop(), "size": checkpoint.preprocessing.size, "before": before}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "nano"
        checkpoints.save(checkpoint, folder, torch.float16, record)
        for file in folder.iterdir():
            shutil.copy(file, BUNDLED / file.name)


if __name__ == "__main__":
    main()

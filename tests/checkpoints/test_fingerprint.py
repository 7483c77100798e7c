"""A checkpoint's fingerprint: the same in every layout, another for another model."""

from dataclasses import replace
from pathlib import Path

import torch

from picscribe.checkpoints import load, save, save_original
from picscribe.checkpoints.fingerprint import fingerprint


def test_the_fingerprint_depends_on_weights_and_not_on_files(tiny_model: Path, tmp_path: Path) -> None:
    checkpoint = load(tiny_model)
    save(checkpoint, tmp_path / "copy")
    save_original(checkpoint, tmp_path / "original")
    known = fingerprint(checkpoint)
    assert len(known) == 64
    assert fingerprint(load(tmp_path / "copy")) == known
    assert fingerprint(load(tmp_path / "original")) == known


def test_it_tells_weights_and_preprocessing_apart(tiny_model: Path) -> None:
    checkpoint = load(tiny_model)
    known = fingerprint(checkpoint)
    squashed = replace(checkpoint, preprocessing=replace(checkpoint.preprocessing, mode="square"))
    assert fingerprint(squashed) != known
    with torch.no_grad():
        next(iter(checkpoint.model.parameters())).view(-1)[0] += 1e-6
    assert fingerprint(checkpoint) != known

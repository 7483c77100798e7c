"""The original code's golden models, loaded once for all tests of parity."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from picscribe.checkpoints.original import config_of_tensors, load_original_model, read_original_tensors
from picscribe.model import Git

LoadGolden = Callable[[str], tuple[Git, dict[str, Any], dict[str, Tensor]]]


@pytest.fixture(scope="session")
def load_golden(golden: Path) -> LoadGolden:
    """By name: the model, the content of NAME.json, and the tensors of NAME.tensors.safetensors."""

    @lru_cache(maxsize=2)
    def load(name: str) -> tuple[Git, dict[str, Any], dict[str, Tensor]]:
        sizes = json.loads((golden / f"{name}.json").read_text())
        file = golden / f"{name}.pt"
        tensors = read_original_tensors(file)
        config = config_of_tensors(
            tensors,
            file,
            image_encoder_heads=sizes["vision"]["heads"],
            text_decoder_heads=sizes["text"]["heads"],
            cls_id=sizes["bos"],
            sep_id=sizes["eos"],
        )
        return load_original_model(file, tensors, config), sizes, load_file(golden / f"{name}.tensors.safetensors")

    return load

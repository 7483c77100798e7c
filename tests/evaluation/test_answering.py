"""Asking a model about a batch of examples."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import picscribe
from picscribe.datasets import Example
from picscribe.evaluation import answering
from picscribe.generation import GenerationOptions


def test_ctrl_c_while_readers_end_is_not_lost(tiny_model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(sources: Iterable[Any], read: Callable[[Any], Any], ahead: int) -> Iterator[Any]:
        try:
            yield from map(read, sources)
        finally:
            raise KeyboardInterrupt

    monkeypatch.setattr(answering, "read_ahead", interrupted)
    batch = (Example("1", photos / "photo1.png", ("a dog",)),)
    with pytest.raises(KeyboardInterrupt):
        answering.answer_batch(picscribe.load(tiny_model), batch, GenerationOptions())

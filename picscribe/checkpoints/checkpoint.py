"""A loaded checkpoint: the network with the tokenizer and the preprocessing that it was trained with."""

from dataclasses import dataclass
from pathlib import Path

from picscribe.acceleration.int8 import is_int8
from picscribe.errors import CheckpointError
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import Git, GitConfig
from picscribe.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Checkpoint:
    """What it takes to turn a photo into words: `model` in evaluation mode, and what belongs to it."""

    model: Git
    tokenizer: Tokenizer
    preprocessing: Preprocessing
    name: str
    folder: Path

    @property
    def is_int8(self) -> bool:
        """Whether the network's linear layers are int8."""
        return is_int8(self.model)


PADDINGS = (8, 16, 32, 64, 128, 256)
"""What trainers pad the rows of a vocabulary to a multiple of."""


def padding_rows(rows: int, words: int) -> int:
    """How many of a network's vocabulary rows are padding beyond `words`; 0 where they cannot be that."""
    beyond = rows - words
    return beyond if any(0 < beyond < multiple and rows % multiple == 0 for multiple in PADDINGS) else 0


def vocabulary_problems(config: GitConfig, tokenizer: Tokenizer) -> list[str]:
    """Where a model and a tokenizer do not speak the same vocabulary, a sentence each."""
    decoder = config.text_decoder
    problems = []
    rows, words = decoder.vocabulary_size, tokenizer.vocabulary_size
    if rows != words and not padding_rows(rows, words):
        problems.append(f"the tokenizer has {words} words, the model {rows}: they belong to different models")
    for word, ours, theirs in (
        ("[PAD]", decoder.pad_id, tokenizer.pad_id),
        ("[CLS]", decoder.cls_id, tokenizer.cls_id),
        ("[SEP]", decoder.sep_id, tokenizer.sep_id),
    ):
        if ours != theirs:
            problems.append(f"{word} is {ours} in the model's configuration, but {theirs} in the tokenizer")
    return problems


def require_exact(checkpoint: Checkpoint, purpose: str) -> None:
    """Raise CheckpointError for int8 weights, which are no use for a purpose: "trained", "converted back"."""
    if checkpoint.is_int8:
        raise CheckpointError(
            f"{checkpoint.name} has int8 weights, which cannot be {purpose}: use the model before its conversion"
        )


def require_folder(folder: Path) -> None:
    """Raise CheckpointError where `folder` is not a folder."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; give the folder that holds the checkpoint's files")

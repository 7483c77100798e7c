"""What a checkpoint is, and everything that is wrong with it, found without reading its weights."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from picscribe.checkpoints import preprocessor_config
from picscribe.checkpoints.checkpoint import padding_rows, vocabulary_problems
from picscribe.checkpoints.hugging_face import STORED_DTYPES, expected_tensors, read_folder_tensors
from picscribe.checkpoints.int8_weights import WEIGHTS, empty_int8_model, holds_int8, int8_differences
from picscribe.checkpoints.loading import find_layout, preprocessing_as_released
from picscribe.checkpoints.model_config import read_model_config
from picscribe.checkpoints.original import (
    find_original_weights,
    read_original_config,
    read_original_tensors,
    read_original_tokenizer,
)
from picscribe.checkpoints.registry import Released, find_released
from picscribe.checkpoints.resolve import find_cached, find_hub_name, local_folder
from picscribe.checkpoints.tensor_names import (
    ORIGINAL,
    ORIGINAL_EXTRAS,
    count_parameters,
    empty_model,
    stored_tensors,
)
from picscribe.checkpoints.weight_files import read_configuration, read_safetensors
from picscribe.checkpoints.weights import differences
from picscribe.errors import CheckpointError
from picscribe.media.preprocessing import Preprocessing
from picscribe.model import GitConfig
from picscribe.text.tokenizer import Tokenizer

T = TypeVar("T")


@dataclass(frozen=True)
class Description:
    """A checkpoint as `describe` found it; what could not be read is None, and `problems` says why.

    `notes` are no problems: what is taken otherwise than a file says, and why.

    `folder` is None for a checkpoint that would have to be downloaded, `files` are names and bytes, `stored_as` the
    types that weights have on disk, `image_tokens` those of one image of the input size (for a video, of all frames).
    """

    name: str
    folder: Path | None
    layout: str | None
    released: Released | None
    config: GitConfig | None
    preprocessing: Preprocessing | None
    vocabulary_size: int | None
    parameters: int | None
    image_tokens: int | None
    stored_as: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def stored_dtype(self) -> torch.dtype:
        """The type that all weights have on disk; float32 where they have several, or another one."""
        found = [dtype for dtype in STORED_DTYPES if str(dtype).removeprefix("torch.") in self.stored_as]
        return found[0] if len(found) == 1 else torch.float32

    @property
    def unlike_model_size(self) -> int | None:
        """The model's image size where squares of another come in; None for a model that is resized when loaded."""
        if self.config is None or self.preprocessing is None or self.layout == "original":
            return None
        size = self.config.image_encoder.image_size
        return size if self.preprocessing.mode != "keep_aspect" and self.preprocessing.size != size else None


class _Findings:
    """What was read and what was wrong, piece by piece: a problem with one file does not hide those of the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.config: GitConfig | None = None
        self.preprocessing: Preprocessing | None = None
        self.tokenizer: Tokenizer | None = None
        self.stored_as: tuple[str, ...] = ()

    def attempt(self, read: Callable[[], T]) -> T | None:
        """What `read` returns; None where it raises a CheckpointError, which is noted."""
        try:
            return read()
        except CheckpointError as error:
            self.problems.append(str(error))
            return None

    def read_hugging_face(self) -> None:
        self.config = self.attempt(lambda: read_model_config(self.folder))
        both = [self.folder / name for name in (preprocessor_config.FILE, preprocessor_config.PROCESSOR_FILE)]
        if all(file.exists() for file in both):
            self._compare_settings(*both)
        self.preprocessing = self.attempt(lambda: preprocessor_config.read_preprocessing(self.folder))
        self.tokenizer = self.attempt(lambda: Tokenizer.from_folder(self.folder))
        tensors = self.attempt(self._read_tensors)
        if tensors is not None:
            self.stored_as = tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}))
            if self.config is not None and holds_int8(self.folder):
                self.problems += int8_differences(tensors, empty_int8_model(self.config))
            elif self.config is not None:
                self.problems += differences(tensors, *expected_tensors(empty_model(self.config)))

    def _compare_settings(self, alone: Path, other: Path) -> None:
        """Note where the image processors of both files differ: transformers takes the nested one, and so do we."""
        used = self.attempt(lambda: preprocessor_config.find_settings(self.folder))
        stored = self.attempt(lambda: read_configuration(alone))
        if used and used[0] == other and stored is not None:
            differing = [key for key in used[1].keys() & stored.keys() if used[1][key] != stored[key]]
            if differing:
                self.notes.append(
                    f"{alone.name} and {other.name} differ in {', '.join(sorted(differing))}: {other.name} is used"
                )

    def _read_tensors(self) -> dict[str, Tensor]:
        return read_safetensors(self.folder / WEIGHTS) if holds_int8(self.folder) else read_folder_tensors(self.folder)

    def read_original(self) -> None:
        file = find_original_weights(self.folder)
        assert file is not None
        self.tokenizer = self.attempt(lambda: read_original_tokenizer(self.folder))
        tensors = self.attempt(lambda: read_original_tensors(file))
        if tensors is None:
            return
        self.stored_as = tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}))
        # Without a vocabulary, a problem already noted, any ids do: sizes and tensors are looked at all the same.
        cls_id, sep_id = (self.tokenizer.cls_id, self.tokenizer.sep_id) if self.tokenizer else (0, 0)
        read = self.attempt(lambda: read_original_config(self.folder, file, tensors, cls_id, sep_id))
        if read is not None:
            self.config, self.preprocessing = read
            self.problems += differences(tensors, stored_tensors(empty_model(self.config), ORIGINAL), ORIGINAL_EXTRAS)


def describe(name_or_folder: str | Path, *, revision: str | None = None) -> Description:
    """Describe a checkpoint by name or folder, with every problem that its files show; nothing is downloaded.

    Weights are looked at by name, shape and type only, so NaN values show when it is loaded; `revision` is one on the
    hub. Raises CheckpointError only for a name that is neither known nor a folder, ConfigurationError for a revision
    of what is not on the hub.
    """
    name = str(name_or_folder)
    released = find_released(name)
    if find_hub_name(name_or_folder) is None:
        folder = local_folder(name_or_folder, revision=revision)
    else:
        cached = find_cached(name, revision=revision)
        if cached is None:
            at = f" at revision {revision}" if revision else ""
            problem = f"{name}{at} is not on this machine; it is downloaded when it is first loaded"
            return Description(name, None, None, released, None, None, None, None, None, (), (), (problem,))
        folder = cached
    findings = _Findings(folder)
    layout = findings.attempt(lambda: find_layout(folder))
    if layout == "original":
        findings.read_original()
    elif layout is not None:
        findings.read_hugging_face()
        if findings.preprocessing is not None:
            released_as = preprocessing_as_released(name_or_folder, findings.preprocessing)
            findings.notes += _released_notes(findings.preprocessing, released_as)
            findings.preprocessing = released_as
    return _summarise(name, released, layout, findings)


def _released_notes(stored: Preprocessing, used: Preprocessing) -> list[str]:
    notes = []
    if used.mode != stored.mode:
        notes.append(f"resized as the original code does; the files say {stored.mode.replace('_', ' ')}")
    if (used.mean, used.std) != (stored.mean, stored.std):
        notes.append(
            f"normalised by CLIP's mean and standard deviation, as in training; the files say mean {stored.mean} "
            f"and standard deviation {stored.std}"
        )
    return notes


def _summarise(name: str, released: Released | None, layout: str | None, findings: _Findings) -> Description:
    config, tokenizer = findings.config, findings.tokenizer
    if config is not None and tokenizer is not None:
        findings.problems += vocabulary_problems(config, tokenizer)
        rows, words = config.text_decoder.vocabulary_size, tokenizer.vocabulary_size
        if padding := padding_rows(rows, words):
            findings.notes.append(
                f"the vocabulary has {rows} rows for {words} words: the {padding} rows of padding are left out"
            )
    files = findings.attempt(lambda: _files(findings.folder)) or ()
    return Description(
        name=name,
        folder=findings.folder,
        layout=layout,
        released=released,
        config=config,
        preprocessing=findings.preprocessing,
        vocabulary_size=tokenizer.vocabulary_size if tokenizer else None,
        parameters=count_parameters(config) if config else None,
        image_tokens=config.image_encoder.tokens * max(config.frames, 1) if config else None,
        stored_as=findings.stored_as,
        files=files,
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
    )


def _files(folder: Path) -> tuple[tuple[str, int], ...]:
    try:
        return tuple((file.name, file.stat().st_size) for file in sorted(folder.iterdir()) if file.is_file())
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be listed ({error.strerror}): check its permissions") from error

"""What a `Scribe` can be asked to do: a frozen object a task, each about one image; `Scribe.run` takes any mix."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

import torch

from picscribe.errors import PicscribeError
from picscribe.generation import GenerationOptions
from picscribe.generation.explanation import Method
from picscribe.media.images import ImageSource
from picscribe.media.video import Video
from picscribe.results import Caption, Classification, Explanation, TextScore
from picscribe.text.labels import Labels

Image: TypeAlias = ImageSource | torch.Tensor | Video
"""What can be captioned: whatever `open_image` opens, pixels that `Scribe.pixels` made of it, or a `Video`.

A checkpoint for videos takes files with videos and animations as they are."""

Result = TypeVar("Result", covariant=True)

Answers: TypeAlias = list[Caption | PicscribeError]
Scores: TypeAlias = list[TextScore | PicscribeError]


@dataclass(frozen=True, eq=False)
class Task(Generic[Result]):
    """A task about one image that gives a `Result`; an error in the image's place is the task's result."""

    image: Image | PicscribeError


@dataclass(frozen=True, eq=False)
class CaptionTask(Task[Caption]):
    """Caption the image, after the words of `prompt`."""

    prompt: str | None = None
    options: GenerationOptions = field(default_factory=GenerationOptions)


@dataclass(frozen=True, eq=False)
class AskTask(Task[Answers]):
    """Answer each question about the image; the error of a question that cannot be asked takes its place."""

    questions: Sequence[str] = ()
    options: GenerationOptions = field(default_factory=GenerationOptions)


@dataclass(frozen=True, eq=False)
class ClassifyTask(Task[Classification]):
    """Find the `top_k` likeliest of `labels`; with `exact` false the one that greedy search writes.

    Tasks that name equal labels are computed together; the labels are prepared once.
    """

    labels: Labels | Sequence[str] = ()
    top_k: int = 5
    prompt: str | None = None
    exact: bool = True


@dataclass(frozen=True, eq=False)
class ScoreTask(Task[Scores]):
    """Score each text for the image; the error of a text that cannot be scored takes its place."""

    texts: Sequence[str] = ()
    prompt: str | None = None


@dataclass(frozen=True, eq=False)
class ExplainTask(Task[Explanation]):
    """Caption the image, and show where the network looked for each word."""

    prompt: str | None = None
    method: Method = "gradient"
    options: GenerationOptions = field(default_factory=GenerationOptions)

"""What clients ask of a model, as the service hands it on: plain data that goes to another process."""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["caption", "ask", "classify", "score", "explain", "words"]


@dataclass(frozen=True)
class Photo:
    """What a client sent: the bytes of a file, and the name that errors call it by.

    frames, start, end: of a video, how many frames to look at, and the part in seconds.
    """

    content: bytes = field(repr=False)
    name: str
    frames: int | None = None
    start: float | None = None
    end: float | None = None

    @property
    def video(self) -> dict[str, Any]:
        """The fields about videos that are given."""
        return {name: value for name in ("frames", "start", "end") if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Question:
    """One thing asked about one image.

    options: fields of GenerationOptions. texts: the questions, texts or labels of kinds that take such. prompt: what
    the caption begins with. The kind "words" is a caption that comes word by word. notes: what of its texts the model
    does not get to read, a sentence each, filled in with the answer.
    """

    kind: Kind
    photo: Photo
    options: dict[str, Any] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    prompt: str | None = None
    top_k: int = 5
    method: str = "gradient"
    notes: list[str] = field(default_factory=list, compare=False)

    def as_message(self) -> dict[str, Any]:
        """Everything but the photo and the notes."""
        names = ("kind", "options", "texts", "prompt", "top_k", "method")
        return {name: getattr(self, name) for name in names}

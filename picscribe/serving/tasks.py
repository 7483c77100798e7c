"""What clients ask of a model, as the service hands it on: plain data that goes to another process."""

from dataclasses import asdict, dataclass, field
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
    the caption begins with. The kind "words" is a caption that comes word by word.
    """

    kind: Kind
    photo: Photo
    options: dict[str, Any] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    prompt: str | None = None
    top_k: int = 5
    method: str = "gradient"

    def as_message(self) -> dict[str, Any]:
        """Everything but the photo."""
        return {name: value for name, value in asdict(self).items() if name != "photo"}

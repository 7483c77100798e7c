"""Questions that were accepted: where each stands, and who waits for it."""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from picscribe.serving.tasks import Question

if TYPE_CHECKING:
    from picscribe.serving.engine.model_pool import ModelPool

Stage = Literal["decoding", "queued", "running", "done"]

_numbers = itertools.count(1)


@dataclass(eq=False)
class Ticket:
    """A question on its way. `weight` is the images it counts for, `deadline` and `since` are the event loop's times.

    pieces: of a caption that comes word by word. said: characters of it that were passed on.
    """

    question: Question
    pool: "ModelPool"
    weight: int
    deadline: float
    since: float
    answer: "asyncio.Future[Any]"
    pieces: "asyncio.Queue[str | None] | None" = None
    stage: Stage = "decoding"
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)
    tries: int = 0
    said: str = ""
    spoken: str = ""
    stage_since: float = 0.0
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the answer."""
        return not self.answer.done()

    def give(self, answer: Any) -> None:
        """Deliver the answer."""
        if self.wanted:
            self.answer.set_result(answer)
        self._close()

    def fail(self, error: Exception) -> None:
        """Deliver an error."""
        if self.wanted:
            self.answer.set_exception(error)
        self._close()

    def drop(self) -> None:
        """Nobody waits any more."""
        self.answer.cancel()
        self._close()

    def hear(self, piece: str) -> None:
        """Pass a piece of the caption on, unless it was passed on before its worker died."""
        self.spoken += piece
        if self.pieces is not None and len(self.spoken) > len(self.said):
            self.pieces.put_nowait(self.spoken[len(self.said) :])
            self.said = self.spoken

    def _close(self) -> None:
        self.stage, self.pixels = "done", None
        if self.pieces is not None:
            self.pieces.put_nowait(None)

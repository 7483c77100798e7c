"""What the command line writes: results to standard output, problems and the progress bar to standard error."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer

from picscribe.errors import PicscribeError


def write_line(text: str, end: bool = True) -> None:
    """Write `text` and the end of its line to standard output now.

    The bytes of a file name come out as they are on the disk.
    Raises PicscribeError where standard output is closed or takes no more, BrokenPipeError where its reader has gone.
    """
    if sys.stdout is None:  # started with `>&-`
        raise PicscribeError("standard output is closed: give results somewhere to go")
    try:
        typer.echo(os.fsencode(text), nl=end)
    except BrokenPipeError:  # not worth a word: typer ends the program quietly
        raise
    except OSError as error:
        # Python writes what is left once more when it ends, and would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise PicscribeError(f"standard output cannot be written: {error.strerror}") from error


def write_piece(text: str) -> None:
    """Write a part of a line to standard output now; errors as of `write_line`."""
    write_line(text, end=False)


def report(problem: object) -> None:
    """Write `problem` to standard error, as one line."""
    typer.echo("picscribe: " + " ".join(str(problem).splitlines()), err=True)


class Bar:
    """A progress bar over `total` photos or batches; there is none for a single one, or where nobody is looking."""

    def __init__(self, total: int) -> None:
        self._progress = None
        if total > 1 and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            self._progress = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                # Results go to standard output, which may be a pipe: rich must not take them over.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> "Bar":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    @contextmanager
    def advance(self, photos: int) -> Iterator[None]:
        """Count `photos` as done; what is written meanwhile does not collide with the bar."""
        if self._progress is None:
            yield
            return
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()
            self._progress.advance(self._task, photos)

    def reach(self, done: int) -> None:
        """Set how many are done, where nothing is written meanwhile."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done)


def show_scores(
    scores: Mapping[str, float], intervals: Mapping[str, tuple[float, float]], as_json: bool = False
) -> None:
    """Write a line a score, with its confidence interval where there is one; or all as one JSON object."""
    if as_json:
        write_line(
            json.dumps({"scores": dict(scores), "intervals": {name: list(pair) for name, pair in intervals.items()}})
        )
        return
    width = max(map(len, scores))
    for name, score in scores.items():
        low_high = "  ({:.4f} to {:.4f})".format(*intervals[name]) if name in intervals else ""
        write_line(f"{name:{width}} {score:.4f}{low_high}")

"""What the command line writes: results to standard output, problems and the progress bar to standard error."""

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

from picscribe.errors import PicscribeError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing fails with where a disk is full or broken."""


def write_line(text: str, end: bool = True) -> None:
    """Write `text` and the end of its line to standard output now.

    The bytes of a file name come out as they are on the disk. A character that the locale lacks comes out as its
    number, \\u4e00 for example; a locale of ASCII alone is taken for UTF-8, as typer takes it for help.
    Raises PicscribeError where standard output is closed or takes no more, BrokenPipeError where its reader has gone.
    """
    if sys.stdout is None:  # started with `>&-`
        raise PicscribeError("standard output is closed: give results somewhere to go")
    try:
        typer.echo(text.encode(_encoding(), ESCAPE), nl=end)
    except BrokenPipeError:  # not worth a word: typer ends the program quietly
        raise
    except OSError as error:
        _give_up_output()
        raise PicscribeError(f"standard output cannot be written: {error.strerror}") from error


def write_piece(text: str) -> None:
    """Write a part of a line to standard output now; errors as of `write_line`."""
    write_line(text, end=False)


def report(problem: object) -> None:
    """Write `problem` to standard error, as one line; where that is closed or full, the exit code has to tell."""
    with contextlib.suppress(OSError):
        typer.echo("picscribe: " + " ".join(str(problem).splitlines()), err=True)


@contextlib.contextmanager
def reported_output() -> Iterator[None]:
    """Around the whole program: what typer itself writes, such as help, fails as `write_line` does: with one line.

    Raises SystemExit where output takes no more.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors=ESCAPE)
    try:
        yield
    except PicscribeError as error:  # of --version, which is read before any command
        report(error)
        raise SystemExit(1) from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        _give_up_output()
        report(f"output cannot be written: {error.strerror}")
        raise SystemExit(1) from error


def _give_up_output() -> None:
    """Python writes what is left in its buffer once more when it ends, and would complain again."""
    if sys.stdout is None:
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _encoding() -> str:
    encoding = codecs.lookup(sys.getfilesystemencoding()).name
    return "utf-8" if encoding == "ascii" else encoding


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is written for a character that the locale lacks: its number; for a byte of a file name, that byte."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character, end = error.object[error.start], error.start + 1
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), end
    return character.encode("ascii", "backslashreplace").decode("ascii"), end


ESCAPE = "picscribe.escape"
codecs.register_error(ESCAPE, _escape)


def live_console() -> "Console | None":
    """Standard error, for a display that is redrawn; None where it is no terminal, or one that cannot go back to what
    it has written (TERM=dumb)."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True)
    return None if console.is_dumb_terminal else console


class Bar:
    """A progress bar over `total` photos or batches.

    There is none for a single one, where nobody is looking, and in a terminal that cannot redraw it (TERM=dumb).
    """

    def __init__(self, total: int) -> None:
        self._progress = None
        if total > 1 and (console := live_console()):
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            self._progress = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
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
        import json  # `picscribe --help` needs none

        write_line(
            json.dumps({"scores": dict(scores), "intervals": {name: list(pair) for name, pair in intervals.items()}})
        )
        return
    width = max(map(len, scores))
    for name, score in scores.items():
        low_high = "  ({:.4f} to {:.4f})".format(*intervals[name]) if name in intervals else ""
        write_line(f"{name:{width}} {score:.4f}{low_high}")


def write_table(rows: Sequence[Sequence[str]]) -> None:
    """Write a line a row, the columns aligned: the first at its left, the others at their right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *values in rows:
        cells = [name.ljust(widths[0]), *(value.rjust(width) for value, width in zip(values, widths[1:], strict=True))]
        write_line("  ".join(cells).rstrip())

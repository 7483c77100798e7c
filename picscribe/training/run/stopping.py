"""Requests to stop, from the machine's manager or the person in front of it."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Stopped(Exception):
    """A run was asked to stop, and does."""


STOPPING = "stopping after this step; Ctrl-C once more ends at once, and loses what was not saved\n"


@contextmanager
def on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """Within, SIGTERM and the first Ctrl-C call `ask` instead of ending the process; a second Ctrl-C ends it.

    Raises KeyboardInterrupt at the end where Ctrl-C had asked: what was to come after the run does not.
    """
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        with suppress(OSError):
            os.write(2, STOPPING.encode())  # stderr; print is not for signals
        ask()

    try:
        before = signal.signal(signal.SIGTERM, lambda *_: ask())
    except ValueError:  # not the main thread, to which signals go
        yield
        return
    # A shell's background job is deaf to Ctrl-C, and stays so.
    heard = signal.getsignal(signal.SIGINT)
    listens = heard is signal.default_int_handler
    if listens:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if listens:
            signal.signal(signal.SIGINT, heard)
    if interrupted:
        raise KeyboardInterrupt

"""Being asked to stop, by whoever manages the machine."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(Exception):
    """A run was asked to stop, and does."""


@contextmanager
def on_sigterm(ask: Callable[[], None]) -> Iterator[None]:
    """Within, SIGTERM calls `ask` instead of ending the process."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: ask())
    except ValueError:  # not the main thread, to which signals go
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

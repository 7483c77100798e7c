"""Run a piece of work in several processes, one a GPU or a few cores each, with torchrun's own launcher."""

import logging
import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable
from typing import Any

from picscribe.errors import PicscribeError

MOST_PROCESSES = 256


def rank() -> int:
    """This process's place among those of `run_in_processes`, from 0; 0 where there is but one."""
    return int(os.environ.get("RANK", 0))


def run_in_processes(processes: int, work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(*arguments)` in each of `processes` new processes of this machine, and wait for all.

    `work` and its arguments must be picklable; `rank()` tells the processes apart, and the cores are shared out.
    Raises the first PicscribeError of one, and a PicscribeError where one dies; KeyboardInterrupt and SystemExit where
    this process is asked to stop, by when the others have.
    """
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The launcher announces on stderr what it does about a signal; the agent's logger has a level of its own.
    for logger in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.5,
        start_method="spawn",
    )
    threads = max(1, torch.get_num_threads() // processes)
    try:
        failures = elastic_launch(config, _in_process)(threads, work, *arguments)
    except ChildFailedError as error:
        place, failure = error.get_first_failure()
        # An exception's comes with its traceback, that of a signal is a text.
        why = failure.message["message"] if isinstance(failure.message, dict) else failure.message
        raise PicscribeError(
            f"process {place} of {processes} died ({why}): run the same command again to continue"
        ) from error
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from error
        raise SystemExit(128 + error.sigval) from error
    for failure in failures.values():
        if failure is not None:
            raise failure


def _in_process(threads: int, work: Callable[..., None], *arguments: Any) -> PicscribeError | None:
    """An error of ours is handed back as a value: the launcher would print a traceback for it."""
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        work(*arguments)
    except PicscribeError as error:
        return error
    return None


def _end_with_parent() -> None:
    """A parent that is killed cannot stop its processes: they would continue writing, and then wait for it for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

"""A process that is forked after PyTorch has computed can compute too.

GNU's OpenMP, which PyTorch computes with on Linux, keeps its threads for the next product. A forked child inherits the
record of them but not the threads, and its first product waits for them for ever. So the threads end just before a
fork, and parent and child each start new ones when they need them, which takes milliseconds.
"""

import ctypes
import functools
import os

import torch

_PAUSE_HARD = 2
"""`omp_pause_hard` of OpenMP 5.0: give up all threads and what belongs to them."""

_threads_ended = False


@functools.cache
def survive_forks() -> None:
    """Prepare this process for `os.fork`, which multiprocessing, DataLoader and pre-forking servers use."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_end_threads, after_in_child=_compute_alone)


def _end_threads() -> None:
    global _threads_ended
    try:
        pause = ctypes.CDLL(None).omp_pause_resource_all
    except AttributeError:  # another OpenMP, or none
        _threads_ended = False
    else:
        _threads_ended = pause(_PAUSE_HARD) == 0


def _compute_alone() -> None:
    """Use one thread in a child whose parent's threads could not be ended: a single thread waits for no other."""
    if not _threads_ended:
        torch.set_num_threads(1)

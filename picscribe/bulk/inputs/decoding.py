"""Decoding in worker processes that may hang or die: the file at fault is recorded, the others continue."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from picscribe.bulk.entries import Entry, printable
from picscribe.bulk.failures import EntryError
from picscribe.bulk.inputs.decode_worker import Settings
from picscribe.bulk.inputs.fetching import content_of
from picscribe.errors import PicscribeError
from picscribe.text_files import split_lines

FETCHERS = 16
"""Addresses fetched at a time."""

DEATHS = 2
"""A file that ends so many workers is left."""

TICK = 0.1
"""Seconds between two looks at which worker is over its time."""


@dataclass(frozen=True)
class Decoded:
    """Pixels of an entry, the digest of its bytes, and the bytes where they were fetched and an output needs them."""

    entry: Entry
    digest: bytes
    pixels: Any
    content: bytes | None = None


class Died(Exception):
    """A worker process ended, or was ended as it took too long."""


class DecodeWorker:
    """One process; used by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        """Raises PicscribeError where it does not come up."""
        self.settings = settings
        self.deadline: float | None = None
        self.overdue = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        # A process group of its own: Ctrl-C is for the run, which then ends its workers. Not a session of its own: on a
        # busy machine Linux shares processor time out by session, and gives one with a single process little.
        apart: dict[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from picscribe.bulk.inputs.decode_worker import main; main()", settings.encode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            **apart,
            env=environment,
        )
        if self._line() is None:
            self._process.wait()
            self._log.seek(0)
            said = split_lines(self._log.read().decode("utf-8", "replace").strip())
            raise PicscribeError(f"a worker that decodes photos did not start: {said[-1] if said else 'no reason'}")

    def read(self, entry: Entry, content: bytes | None) -> tuple[bytes, Any]:
        """Digest and pixels, (3, height, width) or (F, 3, height, width). Raises EntryError, or Died."""
        import numpy as np
        import torch

        request: dict[str, Any] = {"source": entry.source, "where": printable(entry.path)}
        if content is not None:
            request["size"] = len(content)
        self.deadline = time.monotonic() + self.settings.seconds
        try:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.write(content or b"")
            self._process.stdin.flush()
            answer = self._line()
            body = self._process.stdout.read(answer["size"]) if answer else b""
        except OSError as error:
            raise Died from error
        finally:
            self.deadline = None
        if answer is None or len(body) != answer["size"]:
            raise Died
        if "kind" in answer:
            raise EntryError(answer["kind"], answer["reason"])
        array = np.frombuffer(bytearray(body), np.float32).reshape(answer["shape"])
        return bytes.fromhex(answer["digest"]), torch.from_numpy(array)

    def _line(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def kill(self) -> None:
        """End it now; one that the system cannot end, as it waits for a dead disk, is left behind."""
        self._process.kill()

    def close(self) -> None:
        """End it."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


class Decoders:
    """Several workers, and the threads that fetch for them and wait for them."""

    def __init__(self, settings: Settings, workers: int, keep_content: bool = False) -> None:
        """keep_content: have fetched bytes come with the pixels, for an output that copies them."""
        self.settings, self.keep_content = settings, keep_content
        self._idle: SimpleQueue[DecodeWorker | None] = SimpleQueue()
        self._all: set[DecodeWorker] = set()
        self._closed = False
        self._pool = ThreadPoolExecutor(workers + FETCHERS, thread_name_prefix="picscribe-decoding")
        for _ in range(workers):
            self._idle.put(None)  # a place for a worker, which comes up when it is first needed
        self._watch = threading.Thread(target=self._end_overdue, name="picscribe-watching", daemon=True)
        self._watch.start()
        self._workers = workers

    def __len__(self) -> int:
        return self._workers

    def submit(self, entry: Entry, done: Callable[[Decoded | EntryError | BaseException], None]) -> Future[None]:
        """Have an entry decoded; `done` gets the result, or why there is none, in another thread."""

        def work() -> None:
            try:
                result: Decoded | EntryError | BaseException = self.decode(entry)
            except BaseException as error:  # it belongs to whoever waits for it
                error.__traceback__ = None if isinstance(error, EntryError) else error.__traceback__
                result = error
            done(result)

        return self._pool.submit(work)

    def decode(self, entry: Entry) -> Decoded:
        """Raises EntryError."""
        content = content_of(entry, self.settings.max_bytes) if entry.remote or entry.part else None
        for death in range(1, DEATHS + 1):
            worker = self._idle.get()
            try:
                if worker is None:
                    worker = self._start()
                digest, pixels = worker.read(entry, content)
                kept = content if self.keep_content and entry.remote else None
                return Decoded(entry, digest, pixels, kept)
            except Died:
                assert worker is not None
                overdue = worker.overdue
                self._end(worker)
                worker = None
                if overdue:
                    seconds = f"{self.settings.seconds:g} s"
                    reason = f"{printable(entry.path)} took longer than {seconds} to decode: raise --max-seconds"
                    raise EntryError("timed-out", reason) from None
                if death == DEATHS or self._closed:
                    reason = f"{printable(entry.path)} ended the process that decodes it, {death} times: it is damaged"
                    raise EntryError("decoder-died", f"{reason}, or needs more memory than there is") from None
            finally:
                self._idle.put(worker)
        raise AssertionError("a file is decoded, or fails, within its tries")

    def _start(self) -> DecodeWorker:
        worker = DecodeWorker(self.settings)
        self._all.add(worker)
        if self._closed:
            self._end(worker)
        return worker

    def _end(self, worker: DecodeWorker) -> None:
        self._all.discard(worker)
        worker.close()

    def _end_overdue(self) -> None:
        while not self._closed:
            time.sleep(TICK)
            now = time.monotonic()
            for worker in list(self._all):
                if worker.deadline is not None and now > worker.deadline:
                    worker.overdue = True
                    worker.kill()

    def close(self) -> None:
        """End all workers and threads; what is being decoded is lost."""
        self._closed = True
        for worker in list(self._all):
            worker.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for worker in list(self._all):
            self._end(worker)
        self._watch.join()

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""A service as the engine: photos go to `picscribe serve`, on this machine or another, many at a time.

It is asked about so many photos at once that its batches are full. A busy service is asked again when it says so, and a
request that breaks off is sent again with longer and longer waits.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from picscribe.bulk.engine import PATIENCE, Known, Limits
from picscribe.bulk.entries import Entry, Outcome, digest_of, printable
from picscribe.bulk.failures import EntryError, FailureClass
from picscribe.bulk.inputs.decode_worker import TOO_LARGE
from picscribe.bulk.inputs.fetching import content_of
from picscribe.bulk.work import Work
from picscribe.client import Answer, Busy, Client, Limited, Refused, ServiceError, Unreachable, Upload
from picscribe.errors import ConfigurationError, PicscribeError

AT_ONCE = 32
"""Photos that a service is asked about at a time, unless told otherwise: two full batches on a CPU."""
HELD = 512 << 20
"""Bytes of photos that are held at a time, but for one that is larger."""
READERS = 16
"""Files and addresses that are read at a time."""
TRIES = 7
"""Of a request that breaks off; the waits between them are 32 seconds together."""

CODES: Mapping[str, FailureClass] = {
    "request_too_large": "too-large",
    "invalid_input": "not-fitting",
    "invalid_option": "not-fitting",
    "internal_error": "not-fitting",
    "decoding_timed_out": "timed-out",
    "decoder_died": "decoder-died",
    "worker_died": "decoder-died",
    "deadline_exceeded": "timed-out",
}
"""A service's reasons, and the classes of failures that they are."""


class Gone(Exception):
    """The run is stopping, and the service has not answered: the entry stays as it is."""


@dataclass(frozen=True)
class Read:
    """An entry's bytes, and their digest."""

    entry: Entry
    content: bytes
    digest: bytes


class Service:
    """A served model; see `running.Computing`."""

    def __init__(
        self,
        address: str,
        model: str,
        work: Work,
        limits: Limits,
        *,
        key: str | None = None,
        at_once: int | None = None,
        keep_content: bool = False,
    ) -> None:
        """Raises ConfigurationError for a model that is not served, ServiceError where the service does not answer."""
        self.work, self.limits, self.keep_content = work, limits, keep_content
        self.at_once = at_once or AT_ONCE
        self.ended = threading.Event()
        self.client = Client(address, key, called=f"the service {address}", patience=float("inf"), wait=self.ended.wait)
        served = self.client.models()
        if model not in served:
            raise ConfigurationError(
                f"the service {address} does not serve {model}, only {', '.join(served)}: name one of them with --model"
            )
        self.precision = None  # the weights' fingerprint covers it
        self.name, self.fingerprint, self.frames = model, served[model].fingerprint, served[model].frames
        self.most = min(limits.max_bytes, self.client.largest())
        self.client.tries = TRIES
        self.readers = ThreadPoolExecutor(READERS, thread_name_prefix="picscribe-service-reading")
        self.askers = ThreadPoolExecutor(self.at_once, thread_name_prefix="picscribe-service-asking")

    def run(
        self, entries: Iterable[Entry], known: Known, stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Outcome]]:
        """Outcomes, some at a time; after `stopping()` what the service has is finished and nothing else begun.

        `entries` and `known` are called by this thread alone. Raises ServiceError where the service is gone or refuses
        everything, ConfigurationError for options that it does not take, PicscribeError for another model than before.
        """
        return _Pass(self, iter(entries), known, stopping).outcomes()

    def close(self) -> None:
        """Give up what is not answered."""
        self.ended.set()
        self.readers.shutdown(cancel_futures=True)
        self.askers.shutdown(cancel_futures=True)
        self.client.close()

    def read(self, entry: Entry) -> Read:
        """The entry's bytes. Raises EntryError."""
        content = content_of(entry, self.most)
        if not content:
            raise EntryError("unreadable", f"{printable(entry.path)} is empty (0 bytes): download it again")
        return Read(entry, content, digest_of(content))

    def ask(self, read: Read) -> Mapping[str, Any]:
        """The result. Raises EntryError, Gone, and as `run`."""
        try:
            answer = self._answer(read.entry, Upload(read.content, printable(read.entry.path), self._frames(read)))
        except (Busy, Unreachable) as error:
            if self.ended.is_set():
                raise Gone from error
            raise EntryError("timed-out" if isinstance(error, Busy) else "network", str(error)) from error
        except Limited as error:
            if self.work.column:  # its own questions or texts are too many or too long
                raise EntryError("not-fitting", str(error)) from error
            raise
        except (Refused, ConfigurationError, ServiceError) as error:
            kind = _kind_of(error)
            if kind is None:
                raise
            raise EntryError(kind, str(error)) from error
        if answer.fingerprint != self.fingerprint:
            raise PicscribeError(
                f"{self.client.called} has another model under the name {self.name} than when this job began: serve"
                " the old one again, or start again with --new"
            )
        return self.work.value(read.entry, answer.found)

    def _answer(self, entry: Entry, upload: Upload) -> Answer[Any]:
        work, how = self.work, {"model": self.name}
        options, prompt = dict(work.options), work.prompt
        if work.kind == "caption":
            return self.client.caption(upload, prompt=prompt, options=options, **how)
        if work.kind == "ask":
            return self.client.ask(upload, entry.asked or work.questions, options=options, **how)
        if work.kind == "classify":
            return self.client.classify(upload, work.labels, top_k=work.top_k, prompt=prompt, **how)
        return self.client.score(upload, entry.asked or work.texts, prompt=prompt, **how)

    def _frames(self, read: Read) -> int | None:
        """Frames to look at; to a model of photos an animation is a photo, and a video its middle frame."""
        if self.frames:
            return self.limits.frames
        from picscribe.media.signatures import START, container_format

        return (self.limits.frames or 1) if container_format(read.content[:START]) else None


class _Pass:
    """One way through some entries: what is being read, and what the service is asked, with copies that wait for it."""

    def __init__(self, service: Service, entries: Iterator[Entry], known: Known, stopping: Callable[[], bool]) -> None:
        self.service, self.entries, self.known, self.stopping = service, entries, known, stopping
        self.results: SimpleQueue[tuple[Entry | Read, object]] = SimpleQueue()
        self.copies: dict[tuple[bytes, bytes], list[Read]] = {}
        self.reading = self.asking = self.held = 0
        self.unanswered = 0
        self.drawn_out = False
        self.problem: BaseException | None = None

    def outcomes(self) -> Iterator[list[Outcome]]:
        while True:
            self._draw()
            if not (self.reading or self.asking):
                return
            if outcomes := self._received():
                yield outcomes
            if self.problem is not None:
                raise self.problem
            if self.unanswered >= 2 * self.service.at_once:
                raise ServiceError(
                    f"{self.service.client.called} does not answer any more: {self.unanswered} photos failed in a row;"
                    " once it is back, the same command with --retry-failed=network continues"
                )

    def _draw(self) -> None:
        """Have more entries read, so that the service always has enough to do."""
        if self.stopping():
            self.drawn_out = True
            self.service.ended.set()  # what waits for a busy service waits no longer
        most = 2 * self.service.at_once
        while not self.drawn_out and self.reading < READERS and self.reading + self.asking < most and self.held < HELD:
            entry = next(self.entries, None)
            if entry is None:
                self.drawn_out = True
                return
            self.reading += 1
            self.service.readers.submit(self._do, self.service.read, entry)

    def _do(self, work: Callable[[Any], object], of: Any) -> None:
        """For a thread: what is done of an entry goes to the results, an error too."""
        try:
            result: object = work(of)
        except BaseException as error:  # it belongs to whoever waits for it
            result = error
        self.results.put((of, result))

    def _received(self) -> list[Outcome]:
        """What was read or answered, waiting for some."""
        outcomes: list[Outcome] = []
        wait = True
        while True:
            try:
                of, result = self.results.get(wait, PATIENCE if wait else None)
            except Empty:
                return outcomes
            wait = False
            if isinstance(of, Entry):
                self.reading -= 1
                outcomes += self._take(of, result)
            else:
                self.asking -= 1
                outcomes += self._settle(of, result)

    def _take(self, entry: Entry, result: object) -> Sequence[Outcome]:
        """Ask about what was read, unless equal bytes have a result or are asked about already."""
        if isinstance(result, EntryError):
            return [Outcome(entry, None, failure=result.failure)]
        if not isinstance(result, Read):
            assert isinstance(result, BaseException)
            self.problem = result
            return []
        key = (result.digest, entry.asked_digest)
        if (value := self.known(*key)) is not None:
            return [self._outcome(result, value)]
        if key in self.copies:
            self.copies[key].append(result if self.service.keep_content else Read(entry, b"", result.digest))
            return []
        self.copies[key] = []
        self.asking += 1
        self.held += len(result.content)
        self.service.askers.submit(self._do, self.service.ask, result)
        return []

    def _settle(self, read: Read, result: object) -> Sequence[Outcome]:
        self.held -= len(read.content)
        copies = [read, *self.copies.pop((read.digest, read.entry.asked_digest))]
        if isinstance(result, Gone):
            return []
        if isinstance(result, EntryError):
            self.unanswered = self.unanswered + 1 if result.kind == "network" else 0
            return [Outcome(one.entry, None, one.digest, result.failure) for one in copies]
        if isinstance(result, BaseException):
            self.problem = result
            return []
        self.unanswered = 0
        assert isinstance(result, Mapping)
        return [self._outcome(one, result) for one in copies]

    def _outcome(self, read: Read, value: Mapping[str, Any]) -> Outcome:
        content = read.content if self.service.keep_content and read.entry.remote else None
        return Outcome(read.entry, value, read.digest, content=content)


def _kind_of(error: Exception) -> FailureClass | None:
    """The class of a failure that is the photo's own; None for what would be the same for every photo."""
    code = getattr(error, "code", None) or ("invalid_option" if isinstance(error, ConfigurationError) else None)
    if code == "invalid_image":
        return "too-large" if TOO_LARGE.search(str(error)) else "unreadable"
    return CODES.get(code or "")

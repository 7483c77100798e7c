"""Runs of a tiny model in this process, or in a fork of it that can be killed, and folders of photos to run on."""

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import picscribe
from picscribe.bulk import Limits, Options, Run, Summary, Work
from picscribe.bulk.engine import Known, settings_of
from picscribe.bulk.entries import Entry, Outcome, printable
from picscribe.bulk.failures import EntryError
from picscribe.bulk.inputs.decode_worker import Reader
from picscribe.bulk.inputs.fetching import content_of
from picscribe.scribe import Scribe


@pytest.fixture(scope="session")
def tiny_scribe(tiny_model: Path) -> Scribe:
    """The tiny model, loaded."""
    return picscribe.load(tiny_model)


CAPTIONS, DEFAULT = Work(), Limits()
ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Inline:
    """Computes in this process, a file after the other: what `Engine` does, the slow and obvious way.

    calls: the paths that the model was asked about, also in the file `log`, which outlives a kill.
    """

    def __init__(self, scribe: Scribe, work: Work, limits: Limits = DEFAULT, log: Path | None = None) -> None:
        self.scribe, self.work, self.limits, self.log = scribe, work, limits, log
        self.name, self.fingerprint, self.precision = "tiny", scribe.fingerprint(), scribe.precision
        self.reader = Reader(settings_of(scribe, limits))
        self.calls: list[str] = []

    def run(
        self, entries: Iterable[Entry], known: Known, stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Outcome]]:
        for entry in entries:
            yield [self._outcome(entry, known)]
            if stopping():
                return

    def _outcome(self, entry: Entry, known: Known) -> Outcome:
        try:
            content = content_of(entry, self.limits.max_bytes) if entry.remote or entry.part else None
            digest, pixels = self.reader.read(entry.source, printable(entry.path), content)
        except EntryError as error:
            return Outcome(entry, None, failure=error.failure)
        value = known(digest, entry.asked_digest)
        if value is None:
            self.calls.append(entry.path)
            (result,) = self.work.results(self.scribe, [(entry, torch.from_numpy(pixels))])
            if isinstance(result, EntryError):
                return Outcome(entry, None, digest, result.failure)
            value = result
            if self.log is not None:
                with self.log.open("ab") as stream:
                    stream.write(os.fsencode(entry.name) + b"\0")
        return Outcome(entry, value, digest, content=content)

    def close(self) -> None:
        """Nothing to end."""


class Bulk:
    """Runs jobs on the tiny model."""

    def __init__(self, scribe: Scribe, log: Path) -> None:
        self.scribe, self.log = scribe, log
        self.calls: list[str] = []
        self.notes: list[str] = []

    def planned(self, counts: Mapping[str, int]) -> None: ...

    def settled(self, outcomes: Sequence[Outcome]) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)

    def __call__(self, inputs: Any, *outputs: Any, work: Work = CAPTIONS, **options: Any) -> Summary:
        """Run a job to its end; `calls` are then those of this run."""
        return self.run_of(inputs, *outputs, work=work, **options).go()

    def run_of(self, inputs: Any, *outputs: Any, work: Work = CAPTIONS, **options: Any) -> Run:
        """A run that has not begun."""
        given = inputs if isinstance(inputs, list | tuple) else [inputs]
        chosen = Options(tuple(map(str, given)), tuple(map(str, outputs)), work, **options)
        computing = Inline(self.scribe, work, chosen.limits, self.log)
        self.calls, self.notes = computing.calls, []
        return Run(chosen, lambda _: computing, self)

    def killed(self, after: int | float, *args: Any, **options: Any) -> bool:
        """Run a job in a fork that is killed after so many seconds, a whole number: after the model was asked about
        so many photos more; whether it was, and had not ended before."""
        enough = len(self.logged()) + after
        child = os.fork()
        if child == 0:
            code = 1
            try:
                torch.set_num_threads(1)
                self(*args, **options)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        if isinstance(after, float):
            time.sleep(after)
        else:
            while len(self.logged()) < enough and os.waitid(os.P_PID, child, ENDED) is None:
                time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return False
        return True

    @staticmethod
    def draw(path: Path | bytes, number: int = 0, **save: Any) -> None:
        """Save a photo that is like no other number's."""
        draw(path, number, **save)

    @staticmethod
    def lines(path: Path) -> list[dict[str, Any]]:
        """The objects of a JSON Lines file, whose every line is whole."""
        content = path.read_bytes()
        assert content.endswith(b"\n") or not content
        return [json.loads(line) for line in content.splitlines()]

    def logged(self) -> list[str]:
        """Names that the model was asked about in all runs, killed ones too, as often as it was."""
        return [os.fsdecode(name) for name in self.log.read_bytes().split(b"\0")[:-1]] if self.log.exists() else []


@pytest.fixture
def bulk(tiny_scribe: Scribe, tmp_path: Path) -> Bulk:
    """Runs jobs."""
    return Bulk(tiny_scribe, tmp_path / "calls.log")


def draw(path: Path | bytes, number: int = 0, size: tuple[int, int] = (40, 30), **save: Any) -> None:
    """Save a photo that is like no other number's."""
    generator = torch.Generator().manual_seed(number)
    pixels = torch.randint(0, 256, (2, 3, 3), generator=generator, dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).resize(size).save(os.fsdecode(path), **save)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six photos, one of them in a folder below, and one file that is broken."""
    root = tmp_path / "photos"
    (root / "below").mkdir(parents=True)
    for number in range(5):
        draw(root / f"{number}.png", number)
    draw(root / "below" / "5.jpg", 5)
    (root / "broken6.jpg").write_bytes(b"\xff\xd8\xff no photo")
    return root

"""What an evaluation has answered so far, a line a batch, so that a killed one continues from there."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from types import NoneType
from typing import Any

from picscribe.errors import ConfigurationError, InputError
from picscribe.evaluation.results import REPORT
from picscribe.text_files import read_json
from picscribe.whole_files import write_whole


@dataclass(frozen=True)
class Answer:
    """What the model said of one example and how sure it was, or why it could not ("" where it could)."""

    id: str
    text: str
    error: str = ""
    confidence: float | None = None


@dataclass(frozen=True)
class AnsweredBatch:
    """The answers of the batch `number`, and the seconds that they took."""

    number: int
    answers: tuple[Answer, ...]
    seconds: float


class AnswerJournal:
    """The folder `answers/` of an evaluation: identity.json, and a file of lines for each process that worked on it.

    A batch is one line, so a line cut short by a kill is a batch that is done again, with the same neighbours: the
    result is the same to the last bit, however often the evaluation was stopped.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._answers = folder / "answers"
        self._identity = self._answers / "identity.json"
        self._counted: dict[Path, tuple[int, int]] = {}

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Start an evaluation here, or continue with one. Raises ConfigurationError where that would mix two."""
        if self._identity.exists():
            self._require_same(identity)
            return
        if (self.folder / REPORT).exists():
            raise ConfigurationError(f"{self.folder} holds the report of another evaluation: name another folder")
        try:
            self._answers.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{self.folder} cannot be made ({error.strerror}): name another folder") from error
        write_whole(self._identity, json.dumps(identity, indent=2, ensure_ascii=False) + "\n")

    def _require_same(self, identity: Mapping[str, Any]) -> None:
        before, now = _flatten(self.identity()), _flatten(json.loads(json.dumps(identity)))
        differ = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if differ:
            parts = "; ".join(f"{name} was {before.get(name)}, is {now.get(name)}" for name in differ)
            raise ConfigurationError(f"{self.folder} holds another evaluation ({parts}): name another folder")

    def identity(self) -> dict[str, Any]:
        """What `begin` was given."""
        content = read_json(self._identity)
        if not isinstance(content, dict):
            raise InputError(f"{self._identity}: expected an object: remove {self.folder} to start again")
        return content

    def writer(self, rank: int) -> "JournalWriter":
        """Where the process `rank` writes its batches."""
        return JournalWriter(self._answers / f"{rank}.jsonl")

    def batches(self, plan: Sequence[Sequence[str]]) -> dict[int, AnsweredBatch]:
        """Every batch that is done, by number; `plan` has the ids of each, by number.

        Raises InputError for a line that is damaged, not merely cut short, or that is not of this plan.
        """
        done: dict[int, AnsweredBatch] = {}
        for file in sorted(self._answers.glob("*.jsonl")):
            for number, line in enumerate(_whole_lines(file), start=1):
                try:
                    batch = _read_batch(line, plan)
                except (ValueError, LookupError, TypeError) as error:
                    raise InputError(
                        f"{file}: line {number} is damaged ({error}): remove the line, and it is computed again"
                    ) from error
                done.setdefault(batch.number, batch)
        return done

    def count(self) -> int:
        """How many batches are done; for a progress bar: each call reads what was written since the one before."""
        for file in self._answers.glob("*.jsonl"):
            lines, position = self._counted.get(file, (0, 0))
            with file.open("rb") as stream:
                stream.seek(position)
                written = stream.read()
            # A line that is still being written counts next time; one cut short by a kill is cut off by its writer.
            self._counted[file] = lines + written.count(b"\n"), position + written.rfind(b"\n") + 1
        return sum(lines for lines, _ in self._counted.values())


class JournalWriter:
    """Appends batches to one file; each is on the disk when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: FileIO | None = None

    def __enter__(self) -> "JournalWriter":
        try:
            # Unbuffered: what a full disk refused must not be tried again by `close`.
            self._stream = self._path.open("ab", buffering=0)
            self._stream.truncate(sum(len(line) + 1 for line in _whole_lines(self._path)))
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stream is not None
        self._stream.close()

    def write(self, number: int, answers: Sequence[Answer], seconds: float) -> None:
        """Note that the batch `number` is done. Raises InputError where the disk is full."""
        assert self._stream is not None
        entry = {"number": number, "seconds": seconds, "answers": [asdict(answer) for answer in answers]}
        left = json.dumps(entry).encode() + b"\n"
        try:
            while left:
                left = left[self._stream.write(left) :]
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self._path}: cannot be written ({error.strerror}); the same command continues from here")


def _read_batch(line: bytes, plan: Sequence[Sequence[str]]) -> AnsweredBatch:
    """Raises ValueError, LookupError or TypeError for what `JournalWriter.write` did not write for this plan."""
    entry = json.loads(line)
    answers = tuple(Answer(**answer) for answer in entry["answers"])
    number, seconds = entry["number"], entry["seconds"]
    if type(number) is not int or not 0 <= number < len(plan):
        raise ValueError(f"there is no batch {number!r}")
    if type(seconds) not in (int, float):
        raise TypeError("seconds must be a number")
    if not all(type(text) is str for answer in answers for text in (answer.text, answer.error)):
        raise TypeError("text and error must be texts")
    if not all(type(answer.confidence) in (float, int, NoneType) for answer in answers):
        raise TypeError("confidence must be a number")
    if [answer.id for answer in answers] != [*plan[number]]:
        raise ValueError(f"its answers are not those of the examples of batch {number}")
    return AnsweredBatch(number, answers, seconds)


def _flatten(identity: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """What is nested under its names joined with a dot, so that only what differs need be named."""
    flat: dict[str, Any] = {}
    for name, value in identity.items():
        flat |= _flatten(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Lines without their ends; the last one only if it was ended."""
    with path.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield line[:-1]

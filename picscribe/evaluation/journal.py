"""What an evaluation has answered so far, a line a batch, so that one that was killed goes on where it stood."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from picscribe.datasets.json_files import read_json
from picscribe.errors import ConfigurationError, InputError
from picscribe.evaluation.results import REPORT
from picscribe.whole_files import write_whole


@dataclass(frozen=True)
class Answer:
    """What the model said of one example, or why it could not ("" where it could)."""

    id: str
    text: str
    error: str = ""


@dataclass(frozen=True)
class AnsweredBatch:
    """The answers of the batch `number`, and the seconds that they took."""

    number: int
    answers: tuple[Answer, ...]
    seconds: float


class Journal:
    """The folder `answers/` of an evaluation: identity.json, and a file of lines for each process that worked on it.

    A batch is one line, so a line cut short by a kill is a batch that is done again, with the same neighbours: the
    result is the same to the last bit, however often the evaluation was stopped.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._answers = folder / "answers"
        self._identity = self._answers / "identity.json"

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Start an evaluation here, or go on with one. Raises ConfigurationError where that would mix two."""
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
        before, now = self.identity(), json.loads(json.dumps(identity))
        differ = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if differ:
            parts = "; ".join(f"{name} was {before.get(name)}, is {now.get(name)}" for name in differ)
            raise ConfigurationError(f"{self.folder} holds another evaluation ({parts}): name another folder")

    def identity(self) -> dict[str, Any]:
        """What `begin` was given."""
        content = read_json(self._identity)
        if not isinstance(content, dict):
            raise InputError(f"{self._identity}: expected an object; remove {self.folder} to start anew")
        return content

    def writer(self, rank: int) -> "JournalWriter":
        """Where the process `rank` writes its batches."""
        return JournalWriter(self._answers / f"{rank}.jsonl")

    def batches(self) -> dict[int, AnsweredBatch]:
        """Every batch that is done, by number. Raises InputError for a line that is damaged, not merely cut short."""
        done: dict[int, AnsweredBatch] = {}
        for file in sorted(self._answers.glob("*.jsonl")):
            for number, line in enumerate(_whole_lines(file), start=1):
                try:
                    entry = json.loads(line)
                    answers = tuple(Answer(**answer) for answer in entry["answers"])
                    batch = AnsweredBatch(entry["number"], answers, entry["seconds"])
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{file}: line {number} is damaged; remove the line to have it done again"
                    ) from error
                done.setdefault(batch.number, batch)
        return done

    def count(self) -> int:
        """How many batches are done; cheap, for a progress bar."""
        return sum(file.read_bytes().count(b"\n") for file in self._answers.glob("*.jsonl"))


class JournalWriter:
    """Appends batches to one file; each is on the disk when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: BinaryIO | None = None

    def __enter__(self) -> "JournalWriter":
        self._stream = self._path.open("ab")
        whole = sum(len(line) + 1 for line in _whole_lines(self._path))
        self._stream.truncate(whole)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._stream is not None
        self._stream.close()

    def write(self, number: int, answers: Sequence[Answer], seconds: float) -> None:
        """Note that the batch `number` is done."""
        assert self._stream is not None
        entry = {"number": number, "seconds": seconds, "answers": [asdict(answer) for answer in answers]}
        self._stream.write(json.dumps(entry).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Lines without their ends; the last one only if it was ended."""
    with path.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield line[:-1]

"""From `--to` to outputs: which kind, where, and where the job's own files are."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from picscribe.bulk.entries import JOB, is_address, printable
from picscribe.bulk.sinks.database import Database
from picscribe.bulk.sinks.lines import Lines
from picscribe.bulk.sinks.parquet import ParquetShards
from picscribe.bulk.sinks.photos import InsidePhotos
from picscribe.bulk.sinks.sidecars import Sidecars
from picscribe.bulk.sinks.sink import Context, Sink
from picscribe.bulk.sinks.webdataset import WebDatasetShards
from picscribe.bulk.sinks.xmp_sidecars import XmpSidecars
from picscribe.errors import ConfigurationError

BESIDE = ("txt", "caption", "json", "xmp")
"""Kinds that are written next to each photo, or in a tree of the same shape."""
FILES = {"jsonl": ".jsonl", "csv": ".csv", "coco": ".json", "metadata": ".jsonl", "sqlite": ".sqlite"}
"""Kinds of one file, and the suffix that tells them where no kind is named."""
SHARDS = ("parquet", "webdataset")
"""Kinds of a folder of numbered files."""
INSIDE = "inside"
"""Inside the photos themselves."""


@dataclass(frozen=True)
class Output:
    """One `--to`: a kind, and its file or folder; None means next to the photos."""

    kind: str
    where: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether `where` is a file."""
        return self.kind in FILES


def parse_output(text: str) -> Output:
    """`KIND`, `KIND:WHERE`, or a file whose suffix tells the kind. Raises ConfigurationError."""
    kind, colon, where = text.partition(":")
    kinds = (*BESIDE, *FILES, *SHARDS)
    if colon and kind in kinds and where:
        found = Output(kind, where)
    elif text == INSIDE:
        found = Output(text)
    elif text in BESIDE or text.removeprefix(".") in BESIDE:
        found = Output(text.removeprefix("."))
    else:
        found = Output(_kind_of_file(text), text)
    if found.where is not None and is_address(found.where):
        raise ConfigurationError(f"--to {text}: outputs are written to local paths only")
    if found.kind == "metadata" and os.path.basename(found.where or "") != "metadata.jsonl":
        raise ConfigurationError(f"--to {text}: the metadata of an image folder must be metadata.jsonl: name it so")
    return found


def _kind_of_file(text: str) -> str:
    name = os.path.basename(text)
    if name == "metadata.jsonl":
        return "metadata"
    suffix = os.path.splitext(name)[1].lower()
    for kind, its in FILES.items():
        if suffix == its:
            return kind
    known = ", ".join([*BESIDE, INSIDE, *(f"{kind}:FILE" for kind in FILES), *(f"{kind}:FOLDER" for kind in SHARDS)])
    raise ConfigurationError(f"--to {printable(text)!r} is not a known output: {known}")


def job_folder(outputs: Sequence[Output], inputs: Sequence[str]) -> str:
    """Where the journal is, unless told otherwise: by the first output, or in the first input if that is next to it.

    Raises ConfigurationError where there is no such place.
    """
    first = outputs[0]
    if first.where is not None:
        return first.where.rstrip("/") + JOB if first.is_file else os.path.join(first.where, JOB)
    local = next((given for given in inputs if not is_address(given)), None)
    if local is None:
        raise ConfigurationError("no output is on this machine: name a folder for the job's journal with --job")
    return os.path.join(local if os.path.isdir(local) else os.path.dirname(local), JOB)


def files_of(outputs: Sequence[Output]) -> frozenset[str]:
    """Absolute paths of files that are outputs, and so no inputs."""
    return frozenset(os.path.abspath(one.where) for one in outputs if one.is_file and one.where is not None)


def make_sinks(outputs: Sequence[Output], context: Context, full_xmp: bool = True) -> list[Sink]:
    """The outputs, what is written inside photos last, as others may copy the photos. full_xmp: photo.jpg.xmp.

    Raises ConfigurationError for two that are the same, MissingPackageError for one that needs more."""
    sinks = [_make(output, context, full_xmp) for output in sorted(outputs, key=lambda one: one.kind == INSIDE)]
    names = [sink.name for sink in sinks]
    files = [os.path.abspath(one.where) for one in outputs if one.is_file and one.where is not None]
    for name in (*names, *files):
        if names.count(name) > 1 or files.count(name) > 1:
            raise ConfigurationError(f"the output {printable(name)} is named twice: remove one")
    return sinks


def _make(output: Output, context: Context, full_xmp: bool) -> Sink:
    kind, where = output.kind, output.where
    if kind == INSIDE:
        return InsidePhotos(context)
    if kind == "xmp":
        return XmpSidecars(context, where, full_xmp)
    if kind in BESIDE:
        return Sidecars(context, "." + kind, where)
    assert where is not None
    if kind == "sqlite":
        return Database(context, where)
    if kind == "parquet":
        return ParquetShards(context, where)
    return WebDatasetShards(context, where) if kind == "webdataset" else Lines(context, kind, where)

"""The options of `picscribe bulk run`, by subject, and what the library is given of them."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from picscribe.cli.options.loading import LoadingOptions
from picscribe.cli.options.search import SearchOptions
from picscribe.cli.options.service import KEY
from picscribe.errors import ConfigurationError

if TYPE_CHECKING:
    from picscribe.bulk.engine import Limits
    from picscribe.bulk.inputs.selection import Selection
    from picscribe.bulk.running import Computing, Options
    from picscribe.bulk.work import Work

ALL = "all"
"""What --retry-failed means without classes."""


@dataclass(frozen=True)
class WorkOptions:
    """What is asked of the model about every photo."""

    prompt: Annotated[
        str | None,
        typer.Option(show_default=False, help="Words that each caption continues from."),
    ] = None
    ask: Annotated[
        list[str] | None, typer.Option(show_default=False, help="Ask every photo this question; may be repeated.")
    ] = None
    ask_column: Annotated[
        str | None, typer.Option(show_default=False, help="Ask the question in this column of the list.")
    ] = None
    labels: Annotated[
        Path | None, typer.Option(show_default=False, help="Classify instead: a file of labels, one per line.")
    ] = None
    top: Annotated[int, typer.Option(min=1, help="With --labels: how many of the likeliest labels to write.")] = 5
    score_text: Annotated[
        list[str] | None, typer.Option(show_default=False, help="Score this text for every photo; may be repeated.")
    ] = None
    score_column: Annotated[
        str | None, typer.Option(show_default=False, help="Score the text of this column of the list.")
    ] = None

    def work(self, search: SearchOptions) -> "Work":
        """The work of the job. Raises ConfigurationError for two kinds at once."""
        from picscribe.bulk.work import Work

        asked = {
            "ask": self.ask or self.ask_column,
            "classify": self.labels,
            "score": self.score_text or self.score_column,
        }
        kinds = [kind for kind, value in asked.items() if value]
        if len(kinds) > 1:
            raise ConfigurationError("a job is one of captions, --ask, --labels, --score-text: run one after the other")
        options = search.options()
        chosen = {name: value for name, value in asdict(options).items() if value != getattr(type(options)(), name)}
        if kinds == ["ask"]:
            return Work("ask", self.prompt, chosen, questions=tuple(self.ask or ()), column=self.ask_column)
        if kinds == ["classify"]:
            from picscribe.text.labels import read_labels

            assert self.labels is not None
            return Work("classify", self.prompt, labels=tuple(read_labels(self.labels)), top_k=self.top)
        if kinds == ["score"]:
            return Work("score", self.prompt, texts=tuple(self.score_text or ()), column=self.score_column)
        return Work("caption", self.prompt, chosen)


@dataclass(frozen=True)
class SelectionOptions:
    """Which photos of folders and lists are taken."""

    include: Annotated[
        list[str] | None,
        typer.Option(
            show_default=False, help="From folders, take only files that match this pattern, such as '*.jpg'."
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            show_default=False, help="From folders, leave out files that match this pattern, such as 'thumbs/*'."
        ),
    ] = None
    path_column: Annotated[
        str | None, typer.Option(show_default=False, help="The column of a list that names the photos.")
    ] = None
    root: Annotated[
        str | None,
        typer.Option(
            show_default=False, help="The folder that paths in a list are relative to. [default: the list's folder]"
        ),
    ] = None

    def selection(self) -> "Selection":
        """The selection of the job."""
        from picscribe.bulk.inputs.selection import Selection

        return Selection(tuple(self.include or ()), tuple(self.exclude or ()), self.path_column, None, self.root)


@dataclass(frozen=True)
class OutputOptions:
    """How outputs are written."""

    names: Annotated[
        str,
        typer.Option(
            help="Names of sidecars: stem (photo.txt), full (photo.jpg.txt), or auto: full if two photos share a stem."
        ),
    ] = "auto"
    existing: Annotated[
        str,
        typer.Option(
            help="What to do with a text that is already there: skip the photo, overwrite, append or prepend; machine"
            " replaces only texts that picscribe wrote."
        ),
    ] = "skip"
    separator: Annotated[
        str,
        typer.Option(show_default=False, help="With append and prepend: the text between both. [default: a new line]"),
    ] = "\n"
    xmp_name: Annotated[
        str, typer.Option(help="How to name new XMP sidecars: photo.jpg.xmp, or photo.xmp as Adobe does.")
    ] = "photo.jpg.xmp"
    shard: Annotated[int, typer.Option(min=1, help="How many samples a shard of Parquet or WebDataset holds.")] = 10_000

    def fields(self) -> dict[str, Any]:
        """The fields of the job's `Options` that they set. Raises ConfigurationError for an unknown value."""
        full = _one_of("--xmp-name", self.xmp_name, ("photo.jpg.xmp", "photo.xmp")) == "photo.jpg.xmp"
        return {
            "names": _one_of("--names", self.names, ("auto", "stem", "full")),
            "existing": _one_of("--existing", self.existing, ("skip", "overwrite", "append", "prepend", "machine")),
            "separator": self.separator,
            "full_xmp": full,
            "shard": self.shard,
        }


@dataclass(frozen=True)
class RunOptions:
    """Where a job's journal is, and what of the job this run does."""

    job: Annotated[
        str | None,
        typer.Option(show_default=False, help="The folder of the journal. [default: next to the first output]"),
    ] = None
    new: Annotated[bool, typer.Option("--new", help="Start the job again and ignore the journal.")] = False
    retry_failed: Annotated[
        str | None,
        typer.Option(
            metavar="[=CLASS]",
            show_default=False,
            help="Try failed photos again, or only some classes: --retry-failed=network,timed-out.",
        ),
    ] = None
    limit: Annotated[int | None, typer.Option(min=1, show_default=False, help="Stop after this many photos.")] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the photos and find outputs with the same name; write nothing.")
    ] = False
    sample: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="With --html: caption this many random photos.")
    ] = None
    page: Annotated[
        Path | None,
        typer.Option(
            "--html", show_default=False, help="With --sample: the page to show them on. Nothing else is written."
        ),
    ] = None
    min_confidence: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Hold back results with a lower confidence for review in review.html; see `picscribe bulk apply`.",
        ),
    ] = 0
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep running, and caption photos as they arrive in the folders.")
    ] = False

    def fields(self) -> dict[str, Any]:
        """The fields of the job's `Options` that they set. Raises ConfigurationError for one of --sample and --html."""
        if (self.sample is None) != (self.page is None):
            raise ConfigurationError("--sample and --html go together: so many photos, on this page")
        return {
            "job": self.job,
            "new": self.new,
            "retry": _classes(self.retry_failed),
            "limit": self.limit,
            "min_confidence": self.min_confidence,
            "watch": self.watch,
        }


@dataclass(frozen=True)
class DecodingOptions:
    """What one file may take to be opened, and how many are opened at a time."""

    frames: Annotated[
        int | None,
        typer.Option(
            min=1, show_default=False, help="How many frames of a video to use. [default: as many as the model takes]"
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default=False,
            help="How many processes open photos, or with --server photos in flight. [default: one for each core; 32]",
        ),
    ] = None
    max_seconds: Annotated[float, typer.Option(min=0.1, help="The most seconds to decode one file.")] = 60
    max_memory: Annotated[int, typer.Option(min=64, help="The most memory to decode one file, in MiB.")] = 2048
    max_pixels: Annotated[int, typer.Option(min=1, help="The most pixels of a photo.")] = 89_478_485
    max_bytes: Annotated[int, typer.Option(min=1, help="The most bytes of a photo's file.")] = 268_435_456

    def limits(self) -> "Limits":
        """The limits of the job."""
        from picscribe.bulk.engine import Limits

        memory = self.max_memory << 20
        workers = self.workers or _cores()
        return Limits(self.max_seconds, memory, self.max_pixels, self.max_bytes, workers, self.frames)


@dataclass(frozen=True)
class BulkLoadingOptions(LoadingOptions):
    """How a model is loaded; on a cluster, by each actor."""

    batch_size: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="Photos in a batch. [default: 16 to 64 on a CPU]")
    ] = None


@dataclass(frozen=True)
class ComputingOptions:
    """What computes: a model that is loaded here, actors on Ray, or a service."""

    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="Let a running `picscribe serve` compute, such as http://host:8000. PICSCRIBE_API_KEY holds its key.",
        ),
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[=ADDRESS]",
            show_default=False,
            help="Compute on Ray: on this machine, or with --ray=auto or --ray=HOST:PORT on a running cluster.",
        ),
    ] = None
    actors: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default=False,
            help="With --ray: how many actors. [default: one for each GPU, or else for each CPU]",
        ),
    ] = None

    def computing(
        self, model: str, revision: str | None, loading: LoadingOptions, options: "Options", workers: int | None
    ) -> "Callable[[bool], Computing]":
        """A function that makes what computes; the run calls it, and says whether the content of files is kept.

        Raises ConfigurationError for options that do not go with --server.
        """
        if self.server is not None:
            self._check_for_server(loading, revision)

        def make(keep_content: bool) -> "Computing":
            given = (options.work, options.limits, options.batch_size, keep_content)
            if self.server is not None:
                from picscribe.bulk.service import Service

                key = os.environ.get(KEY) or None
                how: dict[str, Any] = {"key": key, "at_once": workers, "keep_content": keep_content}
                return Service(self.server, model, options.work, options.limits, **how)
            if self.ray is not None:
                from picscribe.bulk.cluster import Actors, Cluster

                actors = Actors(Cluster(self.ray, self.actors), model, loading.arguments(revision), *given)
                loading.report_precision(actors.name, actors.precision)
                return actors
            from picscribe.bulk.engine import Engine

            return Engine(loading.load(model, revision), *given)

        return make

    def _check_for_server(self, loading: LoadingOptions, revision: str | None) -> None:
        if self.ray is not None:
            raise ConfigurationError("--server and --ray: one of them computes, leave the other out")
        given = [*loading.given(revision), *(["--batch-size"] if loading.batch_size is not None else [])]
        if given:
            verb = "is for a model that is" if len(given) == 1 else "are for a model that is"
            raise ConfigurationError(f"{', '.join(given)} {verb} loaded here: leave out with --server")


def _one_of(option: str, value: str, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise ConfigurationError(f"{option} {value} is none of {', '.join(known)}")
    return value


def _classes(said: str | None) -> tuple[str, ...]:
    from picscribe.bulk.failures import CLASSES

    if said is None:
        return ()
    return CLASSES if said == ALL else tuple(said.split(","))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

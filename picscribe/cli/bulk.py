"""`picscribe bulk`: folders, lists and archives of photos in, texts in many forms out, each photo exactly once."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from picscribe.cli.options.loading import (
    Compile,
    Device,
    Dtype,
    Model,
    Precision,
    Quantize,
    Resize,
    Revision,
    report_precision,
)
from picscribe.cli.options.search import (
    Ban,
    BeamGroups,
    Beams,
    LengthPenalty,
    MaxWords,
    MinWords,
    NumCaptions,
    RepetitionPenalty,
    Require,
    Seed,
    Temperature,
    TopK,
    TopP,
    options_of,
)
from picscribe.cli.options.service import KEY, LOADING
from picscribe.cli.output.bulk_panel import Panel, lines_of
from picscribe.cli.output.examples import epilog
from picscribe.cli.output.terminal import report, write_line
from picscribe.errors import ConfigurationError

if TYPE_CHECKING:
    from picscribe.bulk.running import Computing
    from picscribe.bulk.work import Work

RUN = "run"
ALL = "all"
ALONE = {"--retry-failed": ALL, "--ray": "local"}
"""Options that may be given without a value, and what they mean then."""


class BulkGroup(TyperGroup):
    """A group whose command `run` need not be named: `picscribe bulk photos --to txt`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before arguments that do not begin with a command's name."""
        if args and args[0] not in self.commands:
            args = [RUN, *args]
        args = [f"{arg}={ALONE[arg]}" if arg in ALONE else arg for arg in args]
        return super().parse_args(ctx, args)


bulk = typer.Typer(
    cls=BulkGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Caption folders, lists and archives of photos, each photo exactly once.",
)


@bulk.command(RUN, epilog=epilog("bulk run"))
def run(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Folders, photos, videos, lists (.txt, .csv, .jsonl, .parquet), .tar archives, web addresses.",
        ),
    ],
    to: Annotated[
        list[str],
        typer.Option(
            metavar="OUTPUT",
            show_default=False,
            help="Where to write results; may be repeated. Next to each photo: txt, caption, json, xmp; the same in a"
            " folder: txt:FOLDER. Inside the photos, with ExifTool: inside. One file: FILE.jsonl, FILE.csv,"
            " FILE.sqlite, metadata.jsonl, coco:FILE.json. Shards: parquet:FOLDER, webdataset:FOLDER.",
        ),
    ],
    model: Model = "nano",
    revision: Revision = None,
    prompt: Annotated[
        str | None, typer.Option(show_default=False, help="Words that each caption continues from.")
    ] = None,
    ask: Annotated[
        list[str] | None, typer.Option(show_default=False, help="Ask every photo this question; may be repeated.")
    ] = None,
    ask_column: Annotated[
        str | None, typer.Option(show_default=False, help="Ask the question in this column of the list.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(show_default=False, help="Classify instead: a file of labels, one per line.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="With --labels: how many of the likeliest labels to write.")] = 5,
    score_text: Annotated[
        list[str] | None, typer.Option(show_default=False, help="Score this text for every photo; may be repeated.")
    ] = None,
    score_column: Annotated[
        str | None, typer.Option(show_default=False, help="Score the text of this column of the list.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            show_default=False, help="From folders, take only files that match this pattern, such as '*.jpg'."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            show_default=False, help="From folders, leave out files that match this pattern, such as 'thumbs/*'."
        ),
    ] = None,
    path_column: Annotated[
        str | None, typer.Option(show_default=False, help="The column of a list that names the photos.")
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            show_default=False, help="The folder that paths in a list are relative to. [default: the list's folder]"
        ),
    ] = None,
    names: Annotated[
        str,
        typer.Option(
            help="Names of sidecars: stem (photo.txt), full (photo.jpg.txt), or auto: full if two photos share a stem."
        ),
    ] = "auto",
    existing: Annotated[
        str,
        typer.Option(
            help="What to do with a text that is already there: skip the photo, overwrite, append or prepend; machine"
            " replaces only texts that picscribe wrote."
        ),
    ] = "skip",
    separator: Annotated[
        str,
        typer.Option(show_default=False, help="With append and prepend: the text between both. [default: a new line]"),
    ] = "\n",
    xmp_name: Annotated[
        str, typer.Option(help="How to name new XMP sidecars: photo.jpg.xmp, or photo.xmp as Adobe does.")
    ] = "photo.jpg.xmp",
    shard: Annotated[
        int, typer.Option(min=1, help="How many samples a shard of Parquet or WebDataset holds.")
    ] = 10_000,
    job: Annotated[
        str | None,
        typer.Option(show_default=False, help="The folder of the journal. [default: next to the first output]"),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Start the job again and ignore the journal.")] = False,
    retry_failed: Annotated[
        str | None,
        typer.Option(
            metavar="[=CLASS]",
            show_default=False,
            help="Try failed photos again, or only some classes: --retry-failed=network,timed-out.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, show_default=False, help="Stop after this many photos.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the photos and find outputs with the same name; write nothing.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="With --html: caption this many random photos.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--html", show_default=False, help="With --sample: the page to show them on. Nothing else is written."
        ),
    ] = None,
    min_confidence: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Hold back results with a lower confidence for review in review.html; see `picscribe bulk apply`.",
        ),
    ] = 0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep running, and caption photos as they arrive in the folders.")
    ] = False,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="Let a running `picscribe serve` compute, such as http://host:8000. PICSCRIBE_API_KEY holds its key.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[=ADDRESS]",
            show_default=False,
            help="Compute on Ray: on this machine, or with --ray=auto or --ray=HOST:PORT on a running cluster.",
        ),
    ] = None,
    actors: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default=False,
            help="With --ray: how many actors. [default: one for each GPU, or else for each CPU]",
        ),
    ] = None,
    beams: Beams = None,
    max_words: MaxWords = None,
    min_words: MinWords = None,
    length_penalty: LengthPenalty = None,
    num_captions: NumCaptions = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    seed: Seed = None,
    beam_groups: BeamGroups = None,
    repetition_penalty: RepetitionPenalty = None,
    require: Require = None,
    ban: Ban = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, show_default=False, help="How many frames of a video to use. [default: as many as the model takes]"
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default=False,
            help="How many processes open photos, or with --server photos in flight. [default: one for each core; 32]",
        ),
    ] = None,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="The most seconds to decode one file.")] = 60,
    max_memory: Annotated[int, typer.Option(min=64, help="The most memory to decode one file, in MiB.")] = 2048,
    max_pixels: Annotated[int, typer.Option(min=1, help="The most pixels of a photo.")] = 89_478_485,
    max_bytes: Annotated[int, typer.Option(min=1, help="The most bytes of a photo's file.")] = 268_435_456,
    device: Device = "cpu",
    batch_size: Annotated[
        int | None, typer.Option(min=1, show_default=False, help="Photos in a batch. [default: 16 on a CPU]")
    ] = None,
    dtype: Dtype = "float32",
    precision: Precision = "exact",
    quantize: Quantize = None,
    compile: Compile = False,
    resize: Resize = None,
) -> None:
    """Caption every photo and video in INPUT, or ask, classify or score, and write the results to each OUTPUT.

    If the run stops, the same command continues it, and captions photos that were added meanwhile. `picscribe bulk
    status JOB` shows the progress of a job. `picscribe bulk apply JOB edits.json` writes edited texts.

    Exit code 0: everything is done; 1: something failed or is left to do; 2: the command cannot be used.
    """
    from picscribe.bulk.engine import Limits
    from picscribe.bulk.inputs.selection import Selection
    from picscribe.bulk.running import Options, Run
    from picscribe.whole_files import write_whole

    search = {
        "beams": beams, "max_words": max_words, "min_words": min_words, "length_penalty": length_penalty,
        "num_captions": num_captions, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed,
        "beam_groups": beam_groups, "repetition_penalty": repetition_penalty, "require": require, "ban": ban,
    }  # fmt: skip
    work = _work(prompt, ask, ask_column, labels, top, score_text, score_column, search)
    options = Options(
        inputs=tuple(inputs),
        outputs=tuple(to),
        work=work,
        job=job,
        selection=Selection(tuple(include or ()), tuple(exclude or ()), path_column, None, root),
        names=_one_of("--names", names, ("auto", "stem", "full")),
        existing=_one_of("--existing", existing, ("skip", "overwrite", "append", "prepend", "machine")),
        separator=separator,
        limits=Limits(max_seconds, max_memory << 20, max_pixels, max_bytes, workers or _cores(), frames),
        batch_size=batch_size,
        retry=_classes(retry_failed),
        new=new,
        limit=limit,
        shard=shard,
        full_xmp=_one_of("--xmp-name", xmp_name, ("photo.jpg.xmp", "photo.xmp")) == "photo.jpg.xmp",
        min_confidence=min_confidence,
        watch=watch,
    )
    if (sample is None) != (page is None):
        raise ConfigurationError("--sample and --html go together: so many photos, on this page")
    loading: dict[str, Any] = {
        "device": device, "revision": revision, "dtype": dtype, "quantize": quantize, "compile": compile,
        "resize": resize, "precision": precision,
    }  # fmt: skip

    if server is not None:
        _check_for_server(ray, {**loading, "batch-size": batch_size})

    def computing(keep_content: bool) -> "Computing":
        given = (options.work, options.limits, options.batch_size, keep_content)
        if server is not None:
            from picscribe.bulk.service import Service

            key = os.environ.get(KEY) or None
            return Service(
                server, model, options.work, options.limits, key=key, at_once=workers, keep_content=keep_content
            )
        if ray is not None:
            from picscribe.bulk.cluster import Actors, Cluster

            made: Computing = Actors(Cluster(ray, actors), model, loading, *given)
        else:
            from picscribe.bulk.engine import Engine
            from picscribe.scribe import load

            made = Engine(load(model, **loading), *given)
        report_precision(made, precision)
        return made

    with Panel() as panel:
        job_run = Run(options, computing, panel)
        if dry_run:
            _say(job_run.look())
            return
        if sample is not None and page is not None:
            write_whole(page, job_run.sample(sample))
            report(f"{page}: look at it; the same command without --sample continues, and computes none of them again")
            return
        summary = job_run.go()
    for line in lines_of(summary):
        report(line)
    if not summary.complete:
        raise typer.Exit(1)


def _check_for_server(ray: str | None, loading: dict[str, Any]) -> None:
    """Raise ConfigurationError for what does not go with --server."""
    if ray is not None:
        raise ConfigurationError("--server and --ray: one of them computes, leave the other out")
    if given := [f"--{name}" for name, value in loading.items() if value != LOADING.get(name)]:
        verb = "is for a model that is" if len(given) == 1 else "are for a model that is"
        raise ConfigurationError(f"{', '.join(given)} {verb} loaded here: leave out with --server")


def _say(counts: dict[str, int]) -> None:
    for name, count in counts.items():
        if count or name in ("found", "new"):
            write_line(f"{name:10} {count:>10,}")


@bulk.command(epilog=epilog("bulk status"))
def status(
    job: Annotated[str, typer.Argument(help="The job's folder, one of its outputs, or the folder of its photos.")],
    failures: Annotated[bool, typer.Option("--failures", help="List failed photos, with class and reason.")] = False,
) -> None:
    """Show the progress of a job: its task, how much is done, what failed, and how far each output is written."""
    import json

    from picscribe.bulk.status import status_of

    found = status_of(job)
    write_line(f"{found.folder}: {'a run works on it now' if found.running else 'no run works on it now'}")
    write_line("job: " + ", ".join(f"{name} {json.dumps(value)}" for name, value in found.identity.items()))
    for name, count in (*found.counts.items(), *((f"failed: {kind}", n) for kind, n in found.failures.items())):
        if count:
            write_line(f"{name:24} {count:>10,}")
    for name, rows in found.outputs.items():
        write_line(f"{name}: {rows:,} of {found.rows:,} rows")
    if failures:
        for path, output, kind, reason in found.list_failures():
            write_line("\t".join((path, output or "-", kind, " ".join(reason.split()))))


@bulk.command(epilog=epilog("bulk apply"))
def apply(
    job: Annotated[str, typer.Argument(help="The job's folder, or one of its outputs.")],
    edits: Annotated[Path, typer.Argument(help="The file edits.json that the page review.html saves.")],
) -> None:
    """Write the texts that you edited on a job's page review.html to its outputs."""
    from picscribe.bulk.running import Run, options_of
    from picscribe.bulk.status import find_job

    with Panel() as panel:
        written, left = Run(options_of(find_job(job)), _nothing, panel).apply(edits)
    report(f"{written:,} texts written" + (f"; {left:,} were not waiting any more, and are left" if left else ""))
    if left:
        raise typer.Exit(1)


def _nothing(keep_content: bool) -> "Computing":
    raise AssertionError("edits are written without a model")


def _work(
    prompt: str | None,
    ask: list[str] | None,
    ask_column: str | None,
    labels: Path | None,
    top: int,
    score_text: list[str] | None,
    score_column: str | None,
    search: dict[str, Any],
) -> "Work":
    """What is asked of the model. Raises ConfigurationError for two kinds at once."""
    from dataclasses import asdict

    from picscribe.bulk.work import Work

    asked = {"ask": ask or ask_column, "classify": labels, "score": score_text or score_column}
    kinds = [kind for kind, value in asked.items() if value]
    if len(kinds) > 1:
        raise ConfigurationError("a job is one of captions, --ask, --labels, --score-text: run one after the other")
    options = options_of(**search)
    chosen = {name: value for name, value in asdict(options).items() if value != getattr(type(options)(), name)}
    if kinds == ["ask"]:
        return Work("ask", prompt, chosen, questions=tuple(ask or ()), column=ask_column)
    if kinds == ["classify"]:
        from picscribe.text.labels import read_labels

        assert labels is not None
        return Work("classify", prompt, labels=tuple(read_labels(labels)), top_k=top)
    if kinds == ["score"]:
        return Work("score", prompt, texts=tuple(score_text or ()), column=score_column)
    return Work("caption", prompt, chosen)


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

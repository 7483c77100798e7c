"""`picscribe bulk`: folders, lists and archives of photos in, texts in many forms out, each photo exactly once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from picscribe.cli.options.bulk import (
    ALL,
    BulkLoadingOptions,
    ComputingOptions,
    DecodingOptions,
    OutputOptions,
    RunOptions,
    SelectionOptions,
    WorkOptions,
)
from picscribe.cli.options.groups import grouped
from picscribe.cli.options.loading import Model, Revision
from picscribe.cli.options.search import SearchOptions
from picscribe.cli.output.bulk_panel import Panel, lines_of
from picscribe.cli.output.examples import epilog
from picscribe.cli.output.terminal import report, write_line

if TYPE_CHECKING:
    from picscribe.bulk.running import Computing

RUN = "run"
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
    name="bulk",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Caption folders, lists and archives of photos, each photo exactly once.",
)


@bulk.command(RUN, epilog=epilog("bulk run"))
@grouped
def run(
    *,
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
    asked: WorkOptions,
    chosen: SelectionOptions,
    written: OutputOptions,
    running: RunOptions,
    where: ComputingOptions,
    search: SearchOptions,
    decoding: DecodingOptions,
    loading: BulkLoadingOptions,
) -> None:
    """Caption every photo and video in INPUT, or ask, classify or score, and write the results to each OUTPUT.

    If the run stops, the same command continues it, and captions photos that were added meanwhile. `picscribe bulk
    status JOB` shows the progress of a job. `picscribe bulk apply JOB edits.json` writes edited texts.

    Exit code 0: everything is done; 1: something failed or is left to do; 2: the command cannot be used.
    """
    from picscribe.bulk.running import Options, Run
    from picscribe.whole_files import write_whole

    options = Options(
        inputs=tuple(inputs),
        outputs=tuple(to),
        work=asked.work(search),
        selection=chosen.selection(),
        limits=decoding.limits(),
        batch_size=loading.batch_size,
        **written.fields(),
        **running.fields(),
    )
    computing = where.computing(model, revision, loading, options, decoding.workers)
    with Panel() as panel:
        job_run = Run(options, computing, panel)
        if running.dry_run:
            _say(job_run.look())
            return
        if (page := running.page) is not None and running.sample is not None:
            write_whole(page, job_run.sample(running.sample))
            report(f"{page}: look at it; the same command without --sample continues, and computes none of them again")
            return
        summary = job_run.go()
    for line in lines_of(summary):
        report(line)
    if not summary.complete:
        raise typer.Exit(1)


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

"""The command `picscribe`: puts the subcommands together and turns our errors into one line and an exit code."""

import _thread
import atexit
import gc
import os
import signal
import sys
import time
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import picscribe
from picscribe.cli.commands import add_commands
from picscribe.cli.output.terminal import report, reported_output, write_line
from picscribe.errors import ConfigurationError, PicscribeError

EXIT_FAILED = 1
EXIT_WRONG_USAGE = 2


class ReportingGroup(TyperGroup):
    """A group of commands in which a PicscribeError is one line on stderr and an exit code, never a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command; flags that are not given are False.

        Typer's own flags are None then, and Typer imports pydantic to convert that: half the time of `COMMAND --help`.
        """
        for parameter in self.get_params(ctx):
            if getattr(parameter, "is_flag", False) and parameter.default is None:
                parameter.default = False
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that `ctx` names; options that cannot be used exit with 2, everything else with 1."""
        try:
            return super().invoke(ctx)
        except PicscribeError as error:
            report(error)
            wrong_usage = isinstance(error, ConfigurationError)
            raise typer.Exit(EXIT_WRONG_USAGE if wrong_usage else EXIT_FAILED) from error


app = typer.Typer(
    name="picscribe",
    cls=ReportingGroup,
    help="Photos in, captions out: GIT, the generative image-to-text transformer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help texts: rich would double the time that `--help` takes.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

add_commands(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        import platform

        write_line(f"picscribe {picscribe.__version__}")
        write_line(f"build: {_build()}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
        write_line(f"torch {_version_of('torch')}")
        raise typer.Exit


def _build() -> str:
    """Where this copy of picscribe comes from: pip records the commit, the folder or the file that it installed."""
    import json  # these are slow to import, for an option rarely asked for
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        recorded = json.loads(distribution("picscribe").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return "not installed by pip"
    if commit := recorded.get("vcs_info", {}).get("commit_id"):
        return f"commit {commit}"
    if recorded.get("dir_info", {}).get("editable"):
        return "editable"
    return "installed from a folder or file" if recorded else "installed from a package index"


def _version_of(package: str) -> str:
    """The version of an installed package, without importing it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "is not installed"


@app.callback()
def _options_of_all_commands(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    pass


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Python drops Ctrl-C that comes while an object is being cleared away: let it come once more, a moment later."""
    if unraisable.exc_type is not KeyboardInterrupt or sys.is_finalizing():
        sys.__unraisablehook__(unraisable)
        return

    def interrupt() -> None:
        time.sleep(0.01)
        if sys.platform == "win32":
            _thread.interrupt_main()
        else:  # as the terminal does, so that whatever is waited for is waited for no longer
            os.kill(os.getpid(), signal.SIGINT)

    _thread.start_new_thread(interrupt, ())  # threading's own threads take locks, which may be held here


def main() -> None:
    """Entry point of the console script."""
    # As the program ends, Python would search all objects for garbage: 0.4 s once torch is imported. So leave it none.
    atexit.register(gc.freeze)
    sys.unraisablehook = _interrupt_again
    # What Pillow thinks of a photo is said by our own errors, or does not matter: damaged EXIF data, many pixels.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    with reported_output():
        app()

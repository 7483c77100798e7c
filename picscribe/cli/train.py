"""`picscribe train`: a recipe in, a run's folder with the best checkpoint out."""

from pathlib import Path
from typing import Annotated

import typer

from picscribe.cli.terminal import write_line


def train(
    recipe: Annotated[Path, typer.Argument(show_default=False, help="A YAML file such as recipes/nano-flickr8k.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SECTION.KEY=VALUE]...", show_default=False, help="Settings that win over the file's."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(show_default=False, help="The run's folder. [default: runs/NAME]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
) -> None:
    """Train a model from a recipe. Each epoch ends with a row of figures and a state that --resume goes on from."""
    from picscribe.training import load_recipe
    from picscribe.training import train as run

    settings = load_recipe(recipe, overrides or ())
    folder = output or Path("runs") / settings.name
    run(settings, folder, resume=resume, report=write_line)
    write_line(f"the best checkpoint is in {folder / 'best'}: picscribe caption --model {folder / 'best'} PHOTO")

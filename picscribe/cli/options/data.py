"""Options that say how a data set is read, the same for every command that takes one."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Images: TypeAlias = Annotated[
    Path | None, typer.Option(show_default=False, help="The folder of the images, if it is not in the usual place.")
]
DataFormat: TypeAlias = Annotated[
    str | None,
    typer.Option("--format", show_default=False, help="The format of the data set, if it is not recognised."),
]

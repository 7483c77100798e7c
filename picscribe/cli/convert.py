"""`picscribe convert`: a checkpoint from one file layout to the other."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from picscribe.cli.terminal import write_line


class Layout(str, Enum):
    """How a checkpoint's files are laid out."""

    HUGGING_FACE = "hugging-face"
    ORIGINAL = "original"


def convert(
    source: Annotated[str, typer.Argument(help="A name that `picscribe models` lists, or a folder of either layout.")],
    destination: Annotated[Path, typer.Argument(help="A new folder, or one with an earlier checkpoint to replace.")],
    to: Annotated[Layout, typer.Option(help="The layout to write: what transformers reads, or the original code.")],
) -> None:
    """Write a model in the other file layout."""
    from picscribe.checkpoints import load, save, save_original

    checkpoint = load(source)
    if to is Layout.ORIGINAL:
        save_original(checkpoint, destination)
    else:
        save(checkpoint, destination)
    write_line(f"{destination}: {checkpoint.name} in the {to.value} layout")

"""`picscribe convert`: a checkpoint from one file layout to the other."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from picscribe.cli.options.loading import Quantize
from picscribe.cli.output.terminal import write_line


class Layout(str, Enum):
    """How a checkpoint's files are laid out."""

    HUGGING_FACE = "hugging-face"
    ORIGINAL = "original"


def convert(
    source: Annotated[str, typer.Argument(help="A name that `picscribe models` lists, or a folder of either layout.")],
    destination: Annotated[
        Path, typer.Argument(help="A new folder, or a folder with an earlier checkpoint, which is replaced.")
    ],
    to: Annotated[
        Layout, typer.Option(help="The layout to write. Only models with CLIP's image encoder can be written in both.")
    ] = Layout.HUGGING_FACE,
    revision: Annotated[
        str | None, typer.Option(show_default=False, help="The branch, tag or commit of a model on the hub.")
    ] = None,
    quantize: Quantize = None,
) -> None:
    """Convert a model to another file layout. Weights keep the type they are stored in.

    hugging-face is the layout of picscribe's own models; transformers reads it if the image encoder is CLIP's. original
    is model.pt and parameter.yaml, for models with CLIP's image encoder only. --quantize int8 stores the linear layers
    in int8, in a layout like Hugging Face's that only picscribe reads.
    """
    from picscribe.checkpoints import describe, load, save, save_int8, save_original

    if quantize and to is Layout.ORIGINAL:
        raise typer.BadParameter("the original layout holds no int8 weights: leave --to or --quantize out")
    checkpoint = load(source, revision=revision, quantize=quantize)
    if checkpoint.is_int8 and quantize:
        save_int8(checkpoint, destination)
        write_line(f"{destination}: {checkpoint.name} with int8 weights")
        return
    dtype = describe(source, revision=revision).stored_dtype
    write = save_original if to is Layout.ORIGINAL else save
    write(checkpoint, destination, dtype)
    write_line(f"{destination}: {checkpoint.name} in the {to.value} layout")

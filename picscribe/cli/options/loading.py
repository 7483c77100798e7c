"""Options that say which model is loaded and how, the same for every command that loads one."""

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from picscribe.cli.output.terminal import report

if TYPE_CHECKING:
    from picscribe.bulk.running import Computing
    from picscribe.cli.options.service import RemoteScribe
    from picscribe.scribe import Scribe

Model: TypeAlias = Annotated[str, typer.Option(help="The model: a name that `picscribe models` lists, or a folder.")]
Revision: TypeAlias = Annotated[
    str | None, typer.Option(show_default=False, help="The branch, tag or commit of a model on the hub.")
]
Device: TypeAlias = Annotated[str, typer.Option(help="The device to compute on: cpu, cuda, cuda:1, mps.")]
BatchSize: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        show_default=False,
        help="Photos in a batch. [default: 16; on a GPU as many as its memory holds]",
    ),
]
Dtype: TypeAlias = Annotated[str, typer.Option(help="The number type to compute in: float32, bfloat16, float16.")]
Quantize: TypeAlias = Annotated[
    str | None,
    typer.Option(show_default=False, help="int8 stores linear layers in int8: faster, and a little less exact."),
]
Precision: TypeAlias = Annotated[
    str,
    typer.Option(
        help="exact, or fast (auto): float32, bfloat16 or int8, whichever is fastest on this machine (measured once; "
        "without --dtype)."
    ),
]
Compile: TypeAlias = Annotated[
    bool,
    typer.Option("--compile", help="Compile the network first. This takes a minute or more, and pays for long runs."),
]
Resize: TypeAlias = Annotated[
    str | None,
    typer.Option(
        show_default=False,
        help="How to fit photos to the model's size: center-crop, keep-aspect (the original's for questions), square."
        " [default: as the checkpoint says]",
    ),
]


def report_precision(model: "Scribe | RemoteScribe | Computing", asked: str) -> None:
    """Say on standard error what a model computes in, where that was chosen for the user."""
    if asked != "exact" and not hasattr(model, "client"):
        report(f"{model.name} computes in {model.precision}")

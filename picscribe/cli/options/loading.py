"""Options that say which model is loaded and how, the same for every command that loads one."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from picscribe.cli.output.terminal import report

if TYPE_CHECKING:
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
        help="Photos in a batch. [default: 16 to 64; on a GPU as many as its memory holds]",
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


@dataclass(frozen=True)
class LoadingOptions:
    """How a model is loaded, and how many photos it computes at a time."""

    device: Device = "cpu"
    batch_size: BatchSize = None
    dtype: Dtype = "float32"
    precision: Precision = "exact"
    quantize: Quantize = None
    compile: Compile = False
    resize: Resize = None

    def open(self, model: str, revision: str | None, here: Sequence[str] = ()) -> "Scribe | RemoteScribe":
        """The model at the service, where PICSCRIBE_SERVER names one and it can do what is asked; else loaded here.

        here: options that were given and that no service takes.
        Raises ServiceError for a service that does not answer, and what `load` raises.
        """
        from picscribe.cli.options.service import find_served

        return find_served(model, [*here, *self.given(revision)]) or self.load(model, revision)

    def load(self, model: str, revision: str | None) -> "Scribe":
        """The model, loaded here. Raises CheckpointError and the like for what cannot be loaded."""
        from picscribe.scribe import load

        scribe = load(model, **self.arguments(revision))
        self.report_precision(scribe.name, scribe.precision)
        return scribe

    def arguments(self, revision: str | None) -> dict[str, Any]:
        """What `picscribe.load` takes besides a name."""
        of_load = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "batch_size"}
        return {**of_load, "revision": revision}

    def given(self, revision: str | None) -> list[str]:
        """The options about loading that are not at their defaults, as they are written."""
        usual = {field.name: field.default for field in fields(self)} | {"revision": None}
        return [f"--{name}" for name, value in self.arguments(revision).items() if value != usual[name]]

    def report_precision(self, model: str, precision: str | None) -> None:
        """Say on standard error what a model computes in, where that was chosen for the user."""
        if self.precision != "exact":
            report(f"{model} computes in {precision}")

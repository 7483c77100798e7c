"""Options that say how a model is loaded, the same for every command that loads one."""

from typing import Annotated, TypeAlias

import typer

Dtype: TypeAlias = Annotated[str, typer.Option(help="What to compute in: float32, bfloat16, float16.")]
Quantize: TypeAlias = Annotated[
    str | None, typer.Option(show_default=False, help="int8: linear layers in int8, faster and a little less exact.")
]
Compile: TypeAlias = Annotated[
    bool, typer.Option("--compile", help="Compile the network first, which takes a minute or more; for long runs.")
]
